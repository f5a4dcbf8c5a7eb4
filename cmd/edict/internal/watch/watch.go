// Package watch tells when something in a folder may have changed.
//
// What always holds here:
//
//  1. A change is told after the folders have been quiet for a while, so that
//     an editor or a checkout is not caught in the middle; but after a bounded
//     time if they never are.
//  2. Changes that the system does not report are found by looking: network
//     file systems, folders that are moved away from above, links to links.
//  3. No change is lost: one that happens while the last is being handled is
//     told afterwards. Changes may be told that are none.
//  4. A folder is watched before it is read. What changes in between is
//     reported, what changed before is seen.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"edict/engine/folder"
)

// Options tunes Folders.
type Options struct {
	Debounce time.Duration // how long the folders must be quiet
	Poll     time.Duration // how often to look unasked; 0: never

	// Failed hears of failures of the system's notifications. Polling goes on
	// without them. Nil means nobody listens.
	Failed func(error)
}

const (
	// patience is how many times Debounce a change waits for quiet.
	patience = 10

	// clockStep is the coarsest step that a file system's clock takes: 2 s, of
	// FAT. A file that was written less than that ago may be written again
	// without its time showing it.
	clockStep = 2 * time.Second
)

// Folders calls changed once at the start and after each change in one of the
// folders, which may be absent, until ctx ends. It returns once no call is
// under way any more.
func Folders(ctx context.Context, folders []string, o Options, changed func()) {
	w := newWatcher(folders, o)
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.options.Failed(err)
	} else {
		defer notify.Close()
		w.notify = notify
	}
	w.run(ctx, changed)
}

type watcher struct {
	folders []string
	options Options
	notify  *fsnotify.Watcher // nil if the system gives no notifications

	watched map[string]fs.FileInfo // by path: what notify watches there
	failed  map[string]bool        // paths that can't be watched, which Failed has heard
	tree    map[string]bool        // the folders that the last look went through
	unsure  bool                   // the last look may have missed something
}

func newWatcher(folders []string, o Options) *watcher {
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	w := &watcher{options: o, watched: map[string]fs.FileInfo{}, failed: map[string]bool{}}
	for _, f := range folders {
		w.folders = append(w.folders, filepath.Clean(f)) // as notify names them
	}
	return w
}

func (w *watcher) run(ctx context.Context, changed func()) {
	var events chan fsnotify.Event
	var failures chan error
	if w.notify != nil {
		events, failures = w.notify.Events, w.notify.Errors
	}
	var poll <-chan time.Time
	if w.options.Poll > 0 {
		t := time.NewTicker(w.options.Poll)
		defer t.Stop()
		poll = t.C
	}
	quiet := time.NewTimer(w.options.Debounce)
	defer quiet.Stop()
	var due time.Time // when the patience with what changes now ends
	stir := func() {
		now := time.Now()
		if due.IsZero() {
			due = now.Add(patience * w.options.Debounce)
		}
		if wait := min(w.options.Debounce, due.Sub(now)); wait >= 0 {
			quiet.Reset(wait)
		}
	}
	// What was there before the first look is unknown to whoever loaded it, so
	// the first quiet moment tells a change.
	last, tell := w.look(), true
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			tell = tell || w.concerns(e.Name)
			stir()
		case err, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			w.options.Failed(err)
			tell = true // of events that were dropped, nobody knows what they were
			stir()
		case <-poll:
			if !w.look().equal(last) || w.unsure {
				stir()
			}
		case <-quiet.C:
			due = time.Time{}
			now := w.look()
			if w.unsure {
				stir()
			}
			if (tell || !now.equal(last)) && ctx.Err() == nil {
				last, tell = now, false
				changed()
			}
		}
	}
}

// concerns tells whether an event is about something in the folders. Other
// events come from folders above them; for what those mean one has to look, as
// for hidden files, which are never read but through links.
func (w *watcher) concerns(name string) bool {
	return w.tree[filepath.Dir(name)] && !hidden(filepath.Base(name))
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// A state is what a look saw, by path.
type state map[string]entry

type entry struct {
	info    fs.FileInfo // links followed; nil if there is nothing to be read
	link    string      // where the path itself leads, if it is a link
	settled bool        // a file that can't change any more without showing it
}

func (s state) equal(other state) bool { return maps.EqualFunc(s, other, entry.equal) }

func (e entry) equal(other entry) bool {
	if e.link != other.link || e.settled != other.settled {
		return false
	}
	a, b := e.info, other.info
	if a == nil || b == nil || a.IsDir() && b.IsDir() {
		return (a == nil) == (b == nil)
	}
	return os.SameFile(a, b) && a.Mode() == b.Mode() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// look walks the folders and watches those that it finds.
func (w *watcher) look() state {
	l := &survey{watcher: w, now: time.Now(), seen: state{}, needed: map[string]bool{}}
	w.tree, w.unsure = map[string]bool{}, false
	for _, f := range w.folders {
		if l.reach(f) {
			l.walk(f, "", nil)
		}
	}
	for name := range w.watched {
		if !l.needed[name] {
			_ = w.notify.Remove(name) // gone already, or about to be
			delete(w.watched, name)
			// Another path may lead to the same folder, and the system has one
			// watch for both.
			w.unsure = true
		}
	}
	maps.DeleteFunc(w.failed, func(name string, _ bool) bool { return !l.needed[name] })
	return l.seen
}

// A survey is one look under way.
type survey struct {
	*watcher
	now    time.Time
	seen   state
	needed map[string]bool // the paths to watch
}

// reach watches what tells that a folder appears or is replaced: the nearest
// folder above it that exists, and each that holds a link on the way to it. It
// tells whether the folder is there.
func (l *survey) reach(name string) bool {
	above := filepath.Dir(name)
	if above != name && !l.reach(above) {
		return false
	}
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return true
	}
	l.watch(above)
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// walk looks through a folder, which is at the end of the link, if any, and
// was reached through the folders above.
func (l *survey) walk(name, link string, above []fs.FileInfo) {
	// The bounds are those that folders are read with.
	if len(above) >= folder.MaxDepth || len(l.tree) >= folder.MaxFolders {
		return
	}
	l.seen[name] = entry{link: link}
	info, err := l.watch(name)
	if err != nil || slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		return
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return
	}
	l.seen[name] = entry{link: link, info: info}
	l.tree[name] = true
	above = append(above[:len(above):len(above)], info)
	for _, e := range entries {
		if hidden(e.Name()) {
			continue // never read; what a link leads to there is seen through the link
		}
		path := filepath.Join(name, e.Name())
		link := ""
		if e.Type()&fs.ModeSymlink != 0 {
			link, _ = os.Readlink(path)
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			l.seen[path] = entry{link: link}
		case info.IsDir():
			l.walk(path, link, above)
		default:
			l.seen[path] = entry{link: link, info: info, settled: l.now.Sub(info.ModTime()) > clockStep}
		}
	}
}

// watch asks the system to report changes in a folder.
func (l *survey) watch(name string) (fs.FileInfo, error) {
	l.needed[name] = true
	info, err := os.Stat(name)
	if err != nil {
		l.unsure = l.unsure || errors.Is(err, fs.ErrNotExist) // it was there a moment ago
		return nil, err
	}
	if l.notify == nil {
		return info, nil
	}
	if before, ok := l.watched[name]; ok && !os.SameFile(before, info) {
		_ = l.notify.Remove(name) // another folder has taken its place
	}
	// Watched or not: the folder may have been made again in the place of one
	// that is gone, and its watch with it.
	if err := l.notify.Add(name); err != nil {
		delete(l.watched, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.unsure = true
		case !l.failed[name]:
			l.failed[name] = true
			l.options.Failed(fmt.Errorf("%s: %w", name, err))
		}
		return info, nil
	}
	l.watched[name] = info
	delete(l.failed, name)
	return info, nil
}
