package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"edict/engine/folder"
)

// deadline is how long a test waits for what ought to happen soon. It is long,
// since it only matters when something is broken.
const deadline = 30 * time.Second

// A rig is a watched folder, seen as whoever is told of changes sees it: each
// time it is told, it reads the whole folder.
type rig struct {
	t      *testing.T
	root   string // a new folder
	folder string // the one that is watched
	during func() // called in every call of changed, after the folder was read

	mu    sync.Mutex
	last  map[string]string // what was read last: contents by the path in the folder
	calls int
	news  chan struct{}

	cancel context.CancelFunc
	ended  chan struct{}
}

func newRig(t *testing.T, path ...string) *rig {
	root := t.TempDir()
	return &rig{t: t, root: root, folder: filepath.Join(append([]string{root}, path...)...), during: func() {},
		news: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start begins to watch, in the given way, and waits for the first call.
func (r *rig) start(watch func(ctx context.Context, folders []string, changed func())) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		watch(ctx, []string{r.folder}, r.changed)
	}()
	r.t.Cleanup(func() {
		cancel()
		r.wait(r.ended, "the end of watching")
	})
	r.until("the first call", func() bool { return r.calls > 0 })
}

func (r *rig) changed() {
	files, _ := folder.Read(os.DirFS(r.folder), "", nil)
	read := map[string]string{}
	for _, f := range files {
		read[f.Name] = string(f.Content)
	}
	r.during()
	r.mu.Lock()
	r.last = read
	r.calls++
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *rig) wait(c <-chan struct{}, what string) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		r.t.Fatalf("%s: not within %v", what, deadline)
	}
}

// until waits for a call of changed after which the answer is true.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	late := time.After(deadline)
	for {
		r.mu.Lock()
		ok, last := done(), r.last
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.news:
		case <-late:
			r.t.Fatalf("%s: not told within %v; the last call read %q", what, deadline, last)
		}
	}
}

// sees waits until a call has read exactly these files: path, content, path …
func (r *rig) sees(pairs ...string) {
	r.t.Helper()
	want := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		want[pairs[i]] = pairs[i+1]
	}
	r.until(fmt.Sprint(want), func() bool { return maps.Equal(r.last, want) })
}

func (r *rig) do(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) at(path string) string { return filepath.Join(r.root, path) }

func (r *rig) write(path, content string) {
	r.t.Helper()
	r.do(os.WriteFile(r.at(path), []byte(content), 0o600))
}

func (r *rig) mkdir(path string) { r.t.Helper(); r.do(os.MkdirAll(r.at(path), 0o700)) }

func (r *rig) remove(path string) { r.t.Helper(); r.do(os.RemoveAll(r.at(path))) }

func (r *rig) rename(from, to string) { r.t.Helper(); r.do(os.Rename(r.at(from), r.at(to))) }

// link makes a link, or swaps one that is there, as an atomic deployment does.
func (r *rig) link(target, path string) {
	r.t.Helper()
	r.do(os.Symlink(target, r.at(path+".new")))
	r.rename(path+".new", path)
}

// byNotify watches by the system's notifications alone.
func byNotify(ctx context.Context, folders []string, changed func()) {
	Folders(ctx, folders, Options{Debounce: 2 * time.Millisecond}, changed)
}

// byPolling watches as on a system that gives no notifications.
func byPolling(ctx context.Context, folders []string, changed func()) {
	newWatcher(folders, Options{Debounce: 2 * time.Millisecond, Poll: time.Millisecond}).run(ctx, changed)
}

func TestChanges(t *testing.T) {
	for _, test := range []struct {
		name     string
		pollOnly bool     // the system does not report it
		folder   []string // below the root; policies unless said
		before   func(r *rig)
		after    func(r *rig)
	}{
		{name: "write in place",
			before: func(r *rig) { r.mkdir("policies"); r.write("policies/a.yaml", "1") },
			after: func(r *rig) {
				r.sees("a.yaml", "1")
				r.write("policies/a.yaml", "two")
				r.sees("a.yaml", "two")
				r.write("policies/a.yaml", "three")
				r.sees("a.yaml", "three")
			}},
		{name: "write as an editor does",
			before: func(r *rig) { r.mkdir("policies"); r.write("policies/a.yaml", "1") },
			after: func(r *rig) {
				for _, content := range []string{"two", "three", "four"} {
					r.write("policies/.a.yaml.swp", content)
					r.rename("policies/a.yaml", "policies/a.yaml~")
					r.rename("policies/.a.yaml.swp", "policies/a.yaml")
					r.remove("policies/a.yaml~")
					r.sees("a.yaml", content)
				}
			}},
		{name: "replace by a file of the same size and time",
			before: func(r *rig) {
				r.mkdir("policies")
				r.write("policies/a.yaml", "1")
				r.do(os.Chtimes(r.at("policies/a.yaml"), time.Unix(0, 0), time.Unix(0, 0)))
			},
			after: func(r *rig) {
				r.sees("a.yaml", "1")
				r.write("b.yaml", "2")
				r.do(os.Chtimes(r.at("b.yaml"), time.Unix(0, 0), time.Unix(0, 0)))
				r.rename("b.yaml", "policies/a.yaml")
				r.sees("a.yaml", "2")
			}},
		{name: "create and delete",
			before: func(r *rig) { r.mkdir("policies") },
			after: func(r *rig) {
				r.write("policies/a.yaml", "1")
				r.sees("a.yaml", "1")
				r.write("policies/b.yaml", "2")
				r.sees("a.yaml", "1", "b.yaml", "2")
				r.remove("policies/a.yaml")
				r.sees("b.yaml", "2")
			}},
		{name: "nested new folders",
			before: func(r *rig) { r.mkdir("policies") },
			after: func(r *rig) {
				r.mkdir("policies/a/b/c")
				r.write("policies/a/b/c/x.yaml", "1")
				r.sees("a/b/c/x.yaml", "1")
				r.write("policies/a/b/c/x.yaml", "two")
				r.sees("a/b/c/x.yaml", "two")
				r.remove("policies/a")
				r.sees()
			}},
		{name: "folder moved in and out",
			before: func(r *rig) { r.mkdir("policies"); r.mkdir("other/b"); r.write("other/b/x.yaml", "1") },
			after: func(r *rig) {
				r.rename("other", "policies/a")
				r.sees("a/b/x.yaml", "1")
				r.write("policies/a/b/x.yaml", "two")
				r.sees("a/b/x.yaml", "two")
				r.rename("policies/a", "policies/z")
				r.sees("z/b/x.yaml", "two")
				r.write("policies/z/b/x.yaml", "three")
				r.sees("z/b/x.yaml", "three")
				r.rename("policies/z", "other")
				r.sees()
			}},
		{name: "Kubernetes",
			before: func(r *rig) {
				r.mkdir("policies/..v1/sub")
				r.write("policies/..v1/a.yaml", "1")
				r.write("policies/..v1/sub/b.yaml", "1")
				r.link("..v1", "policies/..data")
				r.link("..data/a.yaml", "policies/a.yaml")
				r.link("..data/sub", "policies/sub")
			},
			after: func(r *rig) {
				r.sees("a.yaml", "1", "sub/b.yaml", "1")
				old := "policies/..v1"
				for _, v := range []string{"2", "3", "4"} {
					next := "policies/..v" + v
					r.mkdir(next + "/sub")
					r.write(next+"/a.yaml", v)
					r.write(next+"/sub/b.yaml", v)
					r.link(filepath.Base(next), "policies/..data")
					r.remove(old)
					r.sees("a.yaml", v, "sub/b.yaml", v)
					old = next
				}
			}},
		{name: "removed and made again",
			before: func(r *rig) { r.mkdir("policies"); r.write("policies/a.yaml", "1") },
			after: func(r *rig) {
				for i := range 3 {
					r.remove("policies")
					r.sees()
					r.mkdir("policies")
					content := strings.Repeat("x", i+2)
					r.write("policies/a.yaml", content)
					r.sees("a.yaml", content)
					r.write("policies/a.yaml", content+"!")
					r.sees("a.yaml", content+"!")
				}
			}},
		{name: "removed and made again at once",
			before: func(r *rig) { r.mkdir("policies/sub"); r.write("policies/sub/a.yaml", "1") },
			after: func(r *rig) {
				for i := range 5 {
					r.remove("policies") // file systems give the numbers of folders again
					r.mkdir("policies/sub")
					content := strings.Repeat("x", i+2)
					r.write("policies/sub/a.yaml", content)
					r.sees("sub/a.yaml", content)
					r.write("policies/sub/a.yaml", content+"!")
					r.sees("sub/a.yaml", content+"!")
				}
			}},
		{name: "renamed away and back",
			before: func(r *rig) { r.mkdir("policies"); r.write("policies/a.yaml", "1") },
			after: func(r *rig) {
				r.rename("policies", "old")
				r.sees()
				r.rename("old", "policies")
				r.sees("a.yaml", "1")
				r.write("policies/a.yaml", "two")
				r.sees("a.yaml", "two")
			}},
		{name: "absent at start",
			before: func(r *rig) {},
			after: func(r *rig) {
				r.mkdir("policies")
				r.write("policies/a.yaml", "1")
				r.sees("a.yaml", "1")
				r.write("policies/a.yaml", "two")
				r.sees("a.yaml", "two")
			}},
		{name: "parents absent at start", folder: []string{"x", "y", "policies"},
			before: func(r *rig) {},
			after: func(r *rig) {
				r.mkdir("x")
				r.mkdir("x/y")
				r.remove("x/y")
				r.mkdir("x/y/policies")
				r.write("x/y/policies/a.yaml", "1")
				r.sees("a.yaml", "1")
				r.remove("x")
				r.sees()
				r.mkdir("x/y/policies")
				r.write("x/y/policies/a.yaml", "two")
				r.sees("a.yaml", "two")
			}},
		{name: "a file in its place",
			before: func(r *rig) { r.write("policies", "not a folder") },
			after: func(r *rig) {
				r.remove("policies")
				r.mkdir("policies")
				r.write("policies/a.yaml", "1")
				r.sees("a.yaml", "1")
			}},
		{name: "the folder is a link",
			before: func(r *rig) {
				r.mkdir("v1")
				r.write("v1/a.yaml", "1")
				r.link("v1", "policies")
			},
			after: func(r *rig) {
				r.write("v1/a.yaml", "one")
				r.sees("a.yaml", "one")
				r.mkdir("v2")
				r.write("v2/a.yaml", "2")
				r.link("v2", "policies")
				r.sees("a.yaml", "2")
				r.write("v2/a.yaml", "two")
				r.sees("a.yaml", "two")
				r.link("v1", "policies")
				r.sees("a.yaml", "one")
			}},
		{name: "a link on the way to the folder", folder: []string{"current", "policies"},
			before: func(r *rig) {
				r.mkdir("v1/policies")
				r.write("v1/policies/a.yaml", "1")
				r.link("v1", "current")
			},
			after: func(r *rig) {
				r.mkdir("v2/policies")
				r.write("v2/policies/a.yaml", "2")
				r.link("v2", "current")
				r.sees("a.yaml", "2")
				r.remove("current")
				r.sees()
				r.link("v1", "current")
				r.sees("a.yaml", "1")
			}},
		{name: "two links to one folder",
			before: func(r *rig) {
				r.mkdir("policies")
				r.mkdir("shared")
				r.write("shared/x.yaml", "1")
				r.link("../shared", "policies/a")
				r.link("../shared", "policies/b")
			},
			after: func(r *rig) {
				r.sees("a/x.yaml", "1", "b/x.yaml", "1")
				r.remove("policies/a")
				r.sees("b/x.yaml", "1")
				r.write("shared/x.yaml", "two")
				r.sees("b/x.yaml", "two")
			}},
		{name: "links that go round",
			before: func(r *rig) {
				r.mkdir("policies/sub")
				for _, name := range []string{"a", "b", "sub/a", "sub/b", "sub/c"} {
					r.link("../"+strings.Repeat("../", strings.Count(name, "/"))+"policies", "policies/"+name)
				}
			},
			after: func(r *rig) {
				r.write("policies/x.yaml", "1")
				r.sees("x.yaml", "1")
				r.write("policies/sub/x.yaml", "2")
				r.sees("x.yaml", "1", "sub/x.yaml", "2")
			}},
		{name: "the target of a link appears", pollOnly: true,
			before: func(r *rig) {
				r.mkdir("policies")
				r.mkdir("elsewhere")
				r.link("../elsewhere/a.yaml", "policies/a.yaml")
			},
			after: func(r *rig) {
				r.write("elsewhere/a.yaml", "1")
				r.sees("a.yaml", "1")
				r.remove("elsewhere")
				r.sees()
			}},
		{name: "moved away from above", pollOnly: true, folder: []string{"x", "policies"},
			before: func(r *rig) { r.mkdir("x/policies"); r.write("x/policies/a.yaml", "1") },
			after: func(r *rig) {
				r.rename("x", "y")
				r.sees()
				r.mkdir("x/policies")
				r.write("x/policies/a.yaml", "two")
				r.sees("a.yaml", "two")
			}},
		{name: "write in place within one tick of the clock", pollOnly: true,
			before: func(r *rig) { r.mkdir("policies"); r.write("policies/a.yaml", "1") },
			after: func(r *rig) {
				r.sees("a.yaml", "1")
				info, err := os.Stat(r.at("policies/a.yaml"))
				r.do(err)
				r.write("policies/a.yaml", "2")
				r.do(os.Chtimes(r.at("policies/a.yaml"), info.ModTime(), info.ModTime()))
				r.sees("a.yaml", "2")
			}},
	} {
		ways := map[string]func(context.Context, []string, func()){"notify": byNotify, "poll": byPolling}
		for way, watch := range ways {
			if way == "notify" && test.pollOnly {
				continue
			}
			t.Run(test.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				path := test.folder
				if path == nil {
					path = []string{"policies"}
				}
				r := newRig(t, path...)
				test.before(r)
				r.start(watch)
				test.after(r)
			})
		}
	}
}

// A relative path, spelt as nobody would, is watched like any other.
func TestRelativePath(t *testing.T) {
	r := newRig(t)
	t.Chdir(r.root)
	r.folder = "./x/..//policies/"
	r.mkdir("x")
	r.start(byNotify)
	r.mkdir("policies")
	r.write("policies/a.yaml", "1")
	r.sees("a.yaml", "1")
	r.write("policies/a.yaml", "2")
	r.sees("a.yaml", "2")
}

// Folders are made and filled while the watcher is after them.
func TestRacingWithTheWatcher(t *testing.T) {
	r := newRig(t, "policies")
	r.start(func(ctx context.Context, folders []string, changed func()) { Folders(ctx, folders, Options{}, changed) })
	var want []string
	for i := range 50 {
		dir := fmt.Sprintf("n%d/a", i)
		r.mkdir("policies/" + dir)
		r.write("policies/"+dir+"/x.yaml", fmt.Sprint(i))
		want = append(want, dir+"/x.yaml", fmt.Sprint(i))
	}
	r.sees(want...)
	for i := range 50 {
		if i%2 == 0 {
			r.remove(fmt.Sprintf("policies/n%d", i))
		}
		r.mkdir(fmt.Sprintf("policies/n%d/b", i))
		r.write(fmt.Sprintf("policies/n%d/b/y.yaml", i), fmt.Sprint(i))
	}
	want = nil
	for i := range 50 {
		if i%2 == 1 {
			want = append(want, fmt.Sprintf("n%d/a/x.yaml", i), fmt.Sprint(i))
		}
		want = append(want, fmt.Sprintf("n%d/b/y.yaml", i), fmt.Sprint(i))
	}
	r.sees(want...)
}

func TestNoChangeIsLostDuringACall(t *testing.T) {
	for name, watch := range map[string]func(context.Context, []string, func()){"notify": byNotify, "poll": byPolling} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "policies")
			r.mkdir("policies/sub")
			reads, goOn := make(chan struct{}), make(chan struct{})
			var blocking atomic.Bool
			r.during = func() {
				if blocking.CompareAndSwap(true, false) {
					reads <- struct{}{}
					<-goOn
				}
			}
			r.start(watch)
			for i := range 5 {
				blocking.Store(true)
				r.write("policies/a.yaml", strings.Repeat("a", 2*i+1))
				r.wait(reads, "a call") // it has read the folder, and now:
				r.write("policies/a.yaml", strings.Repeat("a", 2*i+2))
				r.write("policies/sub/b.yaml", strings.Repeat("b", i+1))
				close(goOn)
				r.sees("a.yaml", strings.Repeat("a", 2*i+2), "sub/b.yaml", strings.Repeat("b", i+1))
				goOn = make(chan struct{})
			}
		})
	}
}

// noise changes a file over and over, until the test ends.
func (r *rig) noise(path string) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(r.at(path), fmt.Append(nil, i), 0o600)
			}
		}
	}()
	r.t.Cleanup(func() { close(stop); <-stopped })
}

// A folder that never gets quiet is told of all the same.
func TestNoQuiet(t *testing.T) {
	r := newRig(t, "policies")
	r.mkdir("policies")
	r.start(func(ctx context.Context, folders []string, changed func()) {
		Folders(ctx, folders, Options{Debounce: 25 * time.Millisecond}, changed)
	})
	r.noise("policies/.hidden.swp")
	r.noise("policies/log.txt")
	for i := range 3 {
		content := strings.Repeat("x", i+1)
		r.write("policies/a.yaml", content)
		r.sees("a.yaml", content)
	}
}

// What goes on beside a folder that is awaited is looked at, and not told.
func TestTrafficAboveAnAbsentFolder(t *testing.T) {
	r := newRig(t, "policies")
	r.start(func(ctx context.Context, folders []string, changed func()) { Folders(ctx, folders, Options{}, changed) })
	const traffic = 2000
	for i := range traffic {
		r.write("unrelated.txt", fmt.Sprint(i))
	}
	r.noise("more.txt")
	r.mkdir("policies")
	r.write("policies/a.yaml", "1")
	r.sees("a.yaml", "1")
	r.mu.Lock()
	defer r.mu.Unlock()
	// The start; the folder, the file in it, its content, and once more when
	// the file has become old.
	if r.calls > 20 {
		t.Errorf("%d calls for one change, beside %d that are none of the folder's", r.calls, traffic)
	}
}

func TestEnd(t *testing.T) {
	r := newRig(t, "policies")
	called, goOn := make(chan struct{}), make(chan struct{})
	var blocking atomic.Bool
	r.during = func() {
		if blocking.Load() {
			called <- struct{}{}
			<-goOn
		}
	}
	r.mkdir("policies")
	r.start(byNotify)
	blocking.Store(true)
	r.write("policies/a.yaml", "1")
	r.wait(called, "a call")
	r.cancel()
	select {
	case <-r.ended:
		t.Error("watching ended while a call was under way")
	default:
	}
	blocking.Store(false)
	close(goOn)
	r.wait(r.ended, "the end of watching")
}

// Notifications that fail are told of once, and polling goes on.
func TestNotificationsFail(t *testing.T) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	if err := notify.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "policies")
	r.mkdir("policies")
	var mu sync.Mutex
	failures := map[string]int{}
	r.start(func(ctx context.Context, folders []string, changed func()) {
		w := newWatcher(folders, Options{Poll: time.Millisecond, Failed: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if !errors.Is(err, fsnotify.ErrClosed) {
				t.Errorf("unexpected failure: %v", err)
			}
			failures[err.Error()]++
		}})
		w.notify = notify
		w.run(ctx, changed)
	})
	for i := range 5 {
		content := strings.Repeat("x", i+1)
		r.write("policies/a.yaml", content)
		r.sees("a.yaml", content)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{r.folder + ": " + fsnotify.ErrClosed.Error(): 1}
	if !maps.Equal(failures, want) {
		t.Errorf("got failures %v, want %v", failures, want)
	}
}
