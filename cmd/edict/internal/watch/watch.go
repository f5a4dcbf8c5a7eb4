// Package watch tells when something in a folder may have changed.
//
// What always holds here:
//
//  1. A change is told after the folders have been quiet for a while, so that
//     an editor or a checkout is not caught in the middle.
//  2. Changes that the system does not report are found by looking: files that
//     an editor replaces, symbolic links that Kubernetes swaps, folders that
//     come and go, network file systems.
//  3. No change is lost: one that happens while the last is being handled is
//     told afterwards. Changes may be told that are none.
package watch

import (
	"context"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options tunes Folders.
type Options struct {
	Debounce time.Duration // how long the folders must be quiet
	Poll     time.Duration // how often to look unasked; 0: never

	// Failed hears of failures of the system's notifications. Polling goes on
	// without them. Nil means nobody listens.
	Failed func(error)
}

// Folders calls changed after each change in one of the folders, which may be
// absent, until ctx ends. It returns once no call is under way any more.
func Folders(ctx context.Context, folders []string, o Options, changed func()) {
	w := &watcher{folders: folders, options: o, watched: map[string]fs.FileInfo{}}
	if w.options.Failed == nil {
		w.options.Failed = func(error) {}
	}
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
	watched map[string]fs.FileInfo
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
	// The state before the first look is unknown to whoever loaded it, so the
	// first quiet moment tells a change.
	var last uint64
	first := true
	w.look()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			quiet.Reset(w.options.Debounce)
		case err, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			w.options.Failed(err)
			quiet.Reset(w.options.Debounce)
		case <-poll:
			if w.look() != last {
				quiet.Reset(w.options.Debounce)
			}
		case <-quiet.C:
			if now := w.look(); now != last || first {
				last, first = now, false
				changed()
			}
		}
	}
}

// look walks the folders, watches those that are new, and gives a digest of
// names, sizes and times of what is there.
func (w *watcher) look() uint64 {
	h := fnv.New64a()
	present := map[string]bool{}
	for _, folder := range w.folders {
		w.walk(folder, 0, h, present)
		if w.notify != nil && !present[folder] {
			// To learn that the folder appears, watch the one it would be in.
			w.watch(filepath.Dir(folder), present)
		}
	}
	for name := range w.watched {
		if !present[name] {
			_ = w.notify.Remove(name) // gone already, or about to be
			delete(w.watched, name)
		}
	}
	return h.Sum64()
}

// maxDepth is deeper than folders are read, and bounds loops of links.
const maxDepth = 64

func (w *watcher) walk(name string, depth int, h interface{ Write([]byte) (int, error) }, present map[string]bool) {
	entries, err := os.ReadDir(name)
	if err != nil {
		_, _ = h.Write([]byte(name + "\x00absent\x00"))
		return
	}
	w.watch(name, present)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // never read; what a link leads to there is seen through the link
		}
		path := filepath.Join(name, e.Name())
		link := ""
		if e.Type()&fs.ModeSymlink != 0 {
			link, _ = os.Readlink(path)
		}
		info, err := os.Stat(path) // follows links
		if err != nil {
			_, _ = h.Write([]byte(path + "\x00" + link + "\x00broken\x00"))
			continue
		}
		if info.IsDir() {
			_, _ = h.Write([]byte(path + "\x00" + link + "\x00"))
			if depth < maxDepth {
				w.walk(path, depth+1, h, present)
			}
			continue
		}
		stamp := info.ModTime().UTC().Format(time.RFC3339Nano)
		_, _ = h.Write([]byte(path + "\x00" + link + "\x00" + stamp + "\x00"))
		size := info.Size()
		_, _ = h.Write([]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)})
	}
}

func (w *watcher) watch(name string, present map[string]bool) {
	if present[name] {
		return
	}
	present[name] = true
	if w.notify == nil {
		return
	}
	info, err := os.Stat(name)
	if err != nil {
		return
	}
	if before, ok := w.watched[name]; ok {
		if os.SameFile(before, info) {
			return
		}
		_ = w.notify.Remove(name) // another folder has taken its place
	}
	if err := w.notify.Add(name); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			w.options.Failed(err)
		}
		return
	}
	w.watched[name] = info
}
