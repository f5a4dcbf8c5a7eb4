package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// The two sets of policies that are swapped back and forth, as bits.
const (
	first  = 1 << iota // the demo's: owners read their own
	second             // any manager reads anything; owners do not
)

// probes are the requests that go on all the while, with the answer that each
// set has for them.
var probes = []struct {
	q             request
	first, second int
}{
	{request{as: "alice", path: "/expenses/emea/alice/1"}, 200, 403},
	{request{as: "dave", path: "/expenses/emea/alice/2"}, 403, 200},
	{request{as: "bob", path: "/expenses/emea/alice/4"}, 200, 200},
	{request{as: "alice", path: "/expenses/apac/dave/7"}, 403, 403},
	{request{path: "/expenses/emea/alice/5"}, 401, 401},
	{request{path: "/healthz"}, 200, 200},
}

// traffic sends the probes from several goroutines and compares the answers
// with the sets that may have been in force.
type traffic struct {
	rig    *rig
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	phases []int // the sets that may be in force, over time; the last is now
	ended  int   // requests that began in the present phase and were answered
	wrong  []string
	ids    map[string]bool // of the requests, in Envoy's access log
}

func startTraffic(t *testing.T, r *rig, inForce int) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	f := &traffic{rig: r, cancel: cancel, phases: []int{inForce}, ids: map[string]bool{}}
	for range 3 {
		f.done.Go(func() {
			for ctx.Err() == nil {
				for i := range probes {
					f.probe(i)
				}
			}
		})
	}
	t.Cleanup(f.stop)
	return f
}

func (f *traffic) stop() {
	f.cancel()
	f.done.Wait()
}

func (f *traffic) probe(i int) {
	f.mu.Lock()
	began := len(f.phases) - 1
	f.mu.Unlock()
	q := probes[i].q
	got, err := f.rig.try(q)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids[got.header.Get("X-Request-Id")] = true
	possible := 0
	for _, sets := range f.phases[began:] {
		possible |= sets
	}
	if began == len(f.phases)-1 {
		f.ended++
	}
	if err == nil && (possible&first != 0 && got.status == probes[i].first || possible&second != 0 && got.status == probes[i].second) {
		return
	}
	f.wrong = append(f.wrong, fmt.Sprintf("%s %s: answered %d (%v), while the set in force was of %b; request %s",
		q.as, q.path, got.status, err, possible, got.header.Get("X-Request-Id")))
}

// phase says that from now on one of these sets is in force.
func (f *traffic) phase(sets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phases = append(f.phases, sets)
	f.ended = 0
}

// flow waits until the present phase has seen every probe a few times.
func (f *traffic) flow(t *testing.T) {
	t.Helper()
	eventually(t, "answers to requests that began after the change", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if want := 4 * len(probes); f.ended < want {
			return fmt.Errorf("%d of %d", f.ended, want)
		}
		return nil
	})
}

// A layout is a way to put files into the folder of policies.
type layout interface {
	publish(t *testing.T, files map[string]string)
}

// renaming writes each file beside its place and renames it, as editors do, and
// removes those that are no more.
type renaming struct{ folder string }

func (l renaming) publish(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(l.folder, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == content {
			continue
		}
		replaceFile(t, path, content)
	}
	removeOthers(t, l.folder, files)
}

// replaceFile puts a file into place whole.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	aside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".swp")
	writeFile(t, aside, content)
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
}

// with gives the files with one of them replaced, added, or, if it is empty,
// left out.
func with(files map[string]string, name, content string) map[string]string {
	out := maps.Clone(files)
	if out[name] = content; content == "" {
		delete(out, name)
	}
	return out
}

// removeOthers removes what is in the folder and not among the files.
func removeOthers(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if _, ok := files[filepath.ToSlash(name)]; ok || err != nil {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// linking lays the files out as Kubernetes does a ConfigMap: links to a link to
// a folder, of which the middle one is swapped.
type linking struct {
	folder string
	serial *int
}

func (l linking) publish(t *testing.T, files map[string]string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	*l.serial++
	data := fmt.Sprintf("..2026_03_02_%06d", *l.serial)
	must(os.MkdirAll(filepath.Join(l.folder, data), 0o755))
	flat := map[string]string{} // a ConfigMap has no folders
	for name, content := range files {
		flat[strings.ReplaceAll(name, "/", "-")] = content
	}
	for name, content := range flat {
		writeFile(t, filepath.Join(l.folder, data, name), content)
	}
	old, _ := os.Readlink(filepath.Join(l.folder, "..data"))
	must(os.Symlink(data, filepath.Join(l.folder, "..data_tmp")))
	must(os.Rename(filepath.Join(l.folder, "..data_tmp"), filepath.Join(l.folder, "..data")))
	entries, err := os.ReadDir(l.folder)
	must(err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && flat[e.Name()] == "" {
			must(os.Remove(filepath.Join(l.folder, e.Name())))
		}
	}
	for name := range flat {
		if err := os.Symlink("..data/"+name, filepath.Join(l.folder, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	if old != "" {
		must(os.RemoveAll(filepath.Join(l.folder, old)))
	}
}

// TestReloadUnderTraffic rewrites the policies again and again, well and badly,
// while requests go on. Every answer must be that of a good set that may have
// been in force.
func TestReloadUnderTraffic(t *testing.T) {
	needTools(t)
	for _, tt := range []struct {
		name   string
		layout func(folder string) layout
	}{
		{"files renamed into place", func(folder string) layout { return renaming{folder} }},
		{"links swapped as by Kubernetes", func(folder string) layout { return linking{folder, new(int)} }},
	} {
		t.Run(tt.name, func(t *testing.T) { reloadUnderTraffic(t, tt.layout) })
	}
}

func reloadUnderTraffic(t *testing.T, newLayout func(folder string) layout) {
	r := newRig(t, patient...)
	folder := r.path("policies")
	// A policy that no route needs: without it, the rest would compile.
	const spare = "expenses/spare.yaml"
	good := readFolder(t, folder)
	good[spare] = apply(t, "service.yaml", good["expenses/service.yaml"], edit{"resource: service", "resource: spare"})
	other := changed(t, good, edit{
		"- name: owner-reads-own\n      actions: [total, read]\n      derivedRoles: [owner]",
		"- name: owner-reads-own\n      actions: [total, read]\n      roles: [manager]",
	})
	// What would be in force if a set were taken without its broken file: all
	// is allowed.
	const tempting = "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: expense\n  version: default\n" +
		"  rules:\n    - actions: ['*']\n      roles: ['*']\n      effect: EFFECT_ALLOW\n"
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	layout := newLayout(folder)
	layout.publish(t, good)
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	revisions := map[int]string{first: r.waitReadiness(t, http.StatusOK).Revision}
	f := startTraffic(t, r, first)

	inForce := first
	become := func(t *testing.T, set int, publish func()) {
		t.Helper()
		f.phase(inForce | set)
		publish()
		eventually(t, "the new set in force", func() error {
			got, err := r.readiness()
			if err != nil {
				return err
			}
			if revisions[set] == "" && got.Revision != revisions[inForce] {
				revisions[set] = got.Revision
			}
			if got.Revision != revisions[set] {
				return fmt.Errorf("the revision is %s", got.Revision)
			}
			return nil
		})
		inForce = set
		f.phase(set)
	}
	sets := map[int]map[string]string{first: good, second: other}

	become(t, second, func() { layout.publish(t, other) })
	f.flow(t)
	become(t, first, func() { layout.publish(t, good) })
	f.flow(t)
	if revisions[first] == revisions[second] {
		t.Fatalf("both sets have the revision %s", revisions[first])
	}

	t.Run("back and forth", func(t *testing.T) {
		for i := range 12 {
			set := []int{second, first}[i%2]
			become(t, set, func() { layout.publish(t, sets[set]) })
		}
		f.flow(t)
	})
	t.Run("faster than Edict reads", func(t *testing.T) {
		f.phase(first | second)
		for i := range 40 {
			layout.publish(t, sets[[]int{second, first}[i%2]])
		}
		inForce = first | second
		become(t, second, func() { layout.publish(t, other) })
		f.flow(t)
	})

	routes := readFile(t, r.path("envoy/routes/expenses.yaml"))
	for _, tt := range []struct {
		name string
		// The policies, broken. The tempting ones are put beside what is
		// broken, unless there is nothing to put them beside.
		broken map[string]string
		alone  bool
		// And what else is done.
		spoil func(t *testing.T)
		// What the log must then say, of which place.
		says string
	}{
		{name: "broken YAML",
			broken: with(good, spare, apply(t, spare, good[spare], edit{"roles: [employee, manager, auditor]", "roles: [employee, manager, auditor"})),
			says:   `"at":"policies/[a-z/-]*spare.yaml:\d+:\d+"`},
		{name: "a function that does not exist",
			broken: with(good, spare, apply(t, spare, good[spare], edit{"roles: [employee, manager, auditor]\n",
				"roles: [employee, manager, auditor]\n      condition: {match: {expr: mayBe(P.id)}}\n"})),
			says: `"at":"policies/[a-z/-]*spare.yaml:13:38",.*mayBe`},
		{name: "a cut file",
			broken: with(good, spare, good[spare][:strings.LastIndex(good[spare], "effect:")]),
			says:   `"at":"policies/[a-z/-]*spare.yaml:\d+:\d+"`},
		{name: "a file that others need is gone",
			broken: with(good, "expenses/derived_roles.yaml", ""), alone: true,
			says: `"at":"policies/[a-z/-]*expense.yaml:\d+:\d+",.*expense_roles`},
		{name: "a policy twice",
			broken: with(good, "expenses/again.yaml", tempting), alone: true,
			says: `"at":"policies/[a-z/-]*(again|expense).yaml:\d+:\d+"`},
		{name: "an emptied folder",
			alone: true,
			says:  "there are no policies; put some into the folder"},
		{name: "a deleted folder",
			broken: good, alone: true,
			spoil: func(t *testing.T) {
				if err := os.RemoveAll(folder); err != nil {
					t.Fatal(err)
				}
			},
			says: "there are no policies; put some into the folder"},
		{name: "good policies with a broken route map",
			broken: good,
			spoil: func(t *testing.T) {
				replaceFile(t, r.path("envoy/routes/expenses.yaml"), apply(t, "the route map", routes,
					edit{"kind: service, id: expenses}\n      action: whoami", "kind: servise, id: expenses}\n      action: whoami"}))
			},
			says: `"at":"envoy/routes/expenses.yaml:\d+:\d+",.*did you mean`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			says := regexp.MustCompile(tt.says)
			logged := len(r.edict.log())
			if tt.spoil != nil {
				tt.spoil(t)
			} else {
				layout.publish(t, tt.broken)
			}
			eventually(t, "a log that says "+tt.says+", and that the old policies stay in force", func() error {
				// What is wrong, and that the old policies stay in force, are lines of their own.
				if log := r.edict.log()[logged:]; !says.MatchString(log) || !strings.Contains(log, `"oldPoliciesStayInForce":true`) {
					return fmt.Errorf("it says %q", log)
				}
				return nil
			})
			if !tt.alone {
				// What is broken is in place before this is, and until after.
				logged = len(r.edict.log())
				layout.publish(t, with(tt.broken, "expenses/expense.yaml", tempting))
				eventually(t, "a log that says so of the new files too", func() error {
					if !says.MatchString(r.edict.log()[logged:]) {
						return errors.New("it does not")
					}
					return nil
				})
			}
			f.phase(inForce)
			f.flow(t)
			if got, err := r.readiness(); err != nil || got.code != http.StatusOK || got.Revision != revisions[inForce] {
				t.Errorf("/readyz says %+v (%v); want %s to be in force", got, err, revisions[inForce])
			}

			set := (first | second) ^ inForce
			if !tt.alone {
				layout.publish(t, with(tt.broken, "expenses/expense.yaml", sets[set]["expenses/expense.yaml"]))
			}
			become(t, set, func() {
				layout.publish(t, sets[set])
				replaceFile(t, r.path("envoy/routes/expenses.yaml"), routes)
			})
			f.flow(t)
		})
	}

	f.stop()
	for i, wrong := range f.wrong {
		if i == 10 {
			t.Errorf("… and %d more", len(f.wrong)-i)
			break
		}
		t.Error(wrong)
	}
	checkRevisions(t, f, revisions)
	t.Logf("%d requests met %d phases", len(f.ids), len(f.phases))
}

// changed gives the files with edits made wherever they match; each must match
// somewhere.
func changed(t *testing.T, files map[string]string, edits ...edit) map[string]string {
	t.Helper()
	out := maps.Clone(files)
	for _, e := range edits {
		found := false
		for name, text := range out {
			if strings.Contains(text, e.old) {
				found = true
				out[name] = strings.ReplaceAll(text, e.old, e.new)
			}
		}
		if !found {
			t.Fatalf("no policy has %q any more, which this test wants to replace", e.old)
		}
	}
	return out
}

// checkRevisions looks up every answer in Envoy's access log: it must be the
// one that the set of its revision gives, policies and routes as one.
func checkRevisions(t *testing.T, f *traffic, revisions map[int]string) {
	t.Helper()
	lines := map[string]accessLine{}
	eventually(t, "all requests in the access log", func() error {
		for _, l := range f.rig.accessLog(t) {
			if f.ids[l.ID] {
				lines[l.ID] = l
			}
		}
		if len(lines) < len(f.ids) {
			return fmt.Errorf("%d of %d", len(lines), len(f.ids))
		}
		return nil
	})
	type key struct{ principal, path string }
	expected := map[key][2]int{}
	for _, p := range probes {
		principal := p.q.as
		if p.q.path == "/healthz" {
			principal = "anonymous"
		}
		expected[key{principal, p.q.path}] = [2]int{p.first, p.second}
	}
	wrong := 0
	for _, l := range lines {
		want, ok := expected[key{l.Edict.Principal, l.Path}]
		switch {
		case ok && l.Edict.Revision == revisions[first] && l.Code == want[0]:
		case ok && l.Edict.Revision == revisions[second] && l.Code == want[1]:
		default:
			if wrong++; wrong <= 5 {
				t.Errorf("the access log has an answer of no good set: %+v", l)
			}
		}
	}
}
