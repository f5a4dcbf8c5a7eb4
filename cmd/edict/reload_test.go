package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"edict/cmd/edict/internal/config"
	"edict/extauthz"
)

func TestReload(t *testing.T) {
	s := newServed(t)
	s.start()
	first := s.log.await(t, logInForce, 1).text("revision")
	s.answers(aliceAsks, "allow", 200)

	// A policy alone.
	s.write("policies/thing.yaml", policy("b"))
	second := s.log.await(t, logInForce, 2)
	s.answers(aliceAsks, "deny", 403)
	// The routes alone.
	s.write("routes/things.yaml", routes("b"))
	third := s.log.await(t, logInForce, 3)
	s.answers(aliceAsks, "allow", 200)
	// A folder that appears.
	s.write("policies/more/deny.yaml", strings.NewReplacer("resource: thing", "resource: other").Replace(policy("b")))
	if fourth := s.log.await(t, logInForce, 4); fourth["policies"] != 2.0 || fourth["routes"] != 2.0 {
		t.Errorf("got %v", fourth)
	}
	s.remove("policies/more")
	// The same files are the same revision.
	if fifth := s.log.await(t, logInForce, 5).text("revision"); fifth != third.text("revision") || fifth == first || fifth == second.text("revision") {
		t.Errorf("revisions %s, %s, %s, %s", first, second.text("revision"), third.text("revision"), fifth)
	}
	if _, body := s.get("/readyz"); body["revision"] != third.text("revision") {
		t.Errorf("/readyz: %v", body)
	}
}

// A set with anything wrong is told about in full, and the old one stays.
func TestBrokenReload(t *testing.T) {
	s := newServed(t)
	s.start()
	s.log.await(t, logInForce, 1)
	s.write("policies/thing.yaml", strings.Replace(policy("b"), "EFFECT_ALLOW", "EFFECT_ALOW", 1)+"      condition: {}\n")
	e := s.log.await(t, logNotLoaded, 1)
	if e["oldPoliciesStayInForce"] != true || e["problems"] != 2.0 {
		t.Errorf("got %v", e)
	}
	file := filepath.Join(s.dir, "policies/thing.yaml")
	for _, at := range []string{file + ":8:15", file + ":10:"} {
		if !strings.Contains(s.log.String(), `"at":"`+at) {
			t.Errorf("%s is not in the log:\n%s", at, s.log)
		}
	}
	s.answers(aliceAsks, "allow", 200)
	s.health(serving)
	if code, _ := s.get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d", code)
	}
	// A route for which there is no policy any more.
	s.write("policies/thing.yaml", strings.Replace(policy("b"), "resource: thing", "resource: things", 1))
	s.log.await(t, logNotLoaded, 2)
	s.answers(aliceAsks, "allow", 200)
	// Mended.
	s.write("policies/thing.yaml", policy("b"))
	s.log.await(t, logInForce, 2)
	s.answers(aliceAsks, "deny", 403)
}

// Folders that are emptied or removed are more often an accident than a wish.
func TestEmptiedFolders(t *testing.T) {
	s := newServed(t)
	s.start()
	s.log.await(t, logInForce, 1)
	stays := func() {
		t.Helper()
		s.answers(aliceAsks, "allow", 200)
		s.health(serving)
		if code, _ := s.get("/readyz"); code != 200 {
			t.Errorf("/readyz: %d", code)
		}
	}
	s.remove("policies/thing.yaml")
	if e := s.log.await(t, logNoPolicies, 1); e["exists"] != true || e["oldPoliciesStayInForce"] != true {
		t.Errorf("got %v", e)
	}
	stays()
	s.remove("policies")
	if e := s.log.await(t, logNoPolicies, 2); e["exists"] != false || e["oldPoliciesStayInForce"] != true {
		t.Errorf("got %v", e)
	}
	stays()
	s.write("policies/thing.yaml", policy("a"))
	s.log.await(t, logInForce, 2)
	s.remove("routes/things.yaml")
	if e := s.log.await(t, logNoRoutes, 1); e["oldPoliciesStayInForce"] != true {
		t.Errorf("got %v", e)
	}
	stays()
	s.remove("routes")
	s.log.await(t, logNotLoaded, 1)
	stays()
	s.write("routes/things.yaml", routes("b"))
	s.log.await(t, logInForce, 3)
	s.answers(aliceAsks, "deny", 403)
}

// Policies without routes deny every check, and that is said.
func TestNoRoutes(t *testing.T) {
	s := newServed(t)
	s.remove("routes/things.yaml")
	s.start()
	s.log.await(t, "there are no routes, so every check is denied", 1)
	s.answers(aliceAsks, "no_route", 403)
}

// link swaps a link, as atomic deployments do.
func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// Each version allows /thing, but not by the policies of the one and the
// routes of the other. While the two are swapped, no check is ever denied.
func TestPoliciesAndRoutesSwitchTogether(t *testing.T) {
	s := newServed(t)
	for _, v := range []string{"a", "b"} {
		s.write(v+"/policies/thing.yaml", policy(v))
		s.write(v+"/routes/things.yaml", routes(v))
		for i := range 200 { // read between the policy and the routes
			s.write(fmt.Sprintf("%s/policies/zzz/%d.yaml", v, i), "# nothing\n")
		}
	}
	current := filepath.Join(s.dir, "current")
	link(t, "a", current)
	s.start("policies.dir="+current+"/policies", "routes.dir="+current+"/routes", "reload.debounce=0s")
	s.log.await(t, logInForce, 1)

	stop := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(stop)
	loop := func(f func(i int) bool) {
		all.Go(func() {
			for i := 0; f(i); i++ {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var asked atomic.Int64
	in := aliceAsks.message(t)
	for range 2 {
		loop(func(int) bool {
			out, err := s.client.Check(context.Background(), in)
			if err != nil || out.GetStatus().GetCode() != 0 {
				t.Errorf("denied: %v, %v", out, err)
				return false
			}
			asked.Add(1)
			return true
		})
	}
	// Files that are none of the set keep Edict reading, so that swaps happen
	// in the middle of that.
	for _, v := range []string{"a", "b"} {
		notes := filepath.Join(s.dir, v, "policies/notes.txt")
		loop(func(i int) bool {
			if err := os.WriteFile(notes, fmt.Append(nil, i), 0o600); err != nil {
				t.Error(err)
				return false
			}
			return true
		})
	}
	const swaps = 40
	for i := range swaps {
		before := asked.Load()
		link(t, []string{"b", "a"}[i%2], current)
		s.log.await(t, logInForce, i+2)
		for asked.Load() == before && !t.Failed() { // not one of them is idle
			s.answers(aliceAsks, "allow", http.StatusOK)
		}
	}
	if n := len(s.log.entries(logInForce)); n != swaps+1 {
		t.Errorf("%d swaps made %d revisions", swaps, n-1)
	}
}

func TestSteady(t *testing.T) {
	for name, test := range map[string]struct {
		ids  string // of the readings, one letter each; the last goes on
		want string
		err  error
	}{
		"nothing changes":            {"a", "a", nil},
		"a swap during a reading":    {"xb", "b", nil},
		"a swap between readings":    {"ab", "b", nil},
		"a swap during the second":   {"axb", "b", nil},
		"two swaps":                  {"axbyc", "c", nil},
		"quiet at the last moment":   {"abcdefgg", "g", nil},
		"never quiet":                {"abcdefgh", "", errUnsteady},
		"back and forth, and no two": {"abababab", "", errUnsteady},
	} {
		n := 0
		got, err := steady(func() reading {
			n++
			return reading{id: test.ids[min(n, len(test.ids))-1:][:1]}
		})
		if err != test.err || err == nil && got.id != test.want || n > readings {
			t.Errorf("%s: got %q, %v after %d readings; want %q, %v", name, got.id, err, n, test.want, test.err)
		}
	}
}

// newTestReloader gives a reloader of the folders of s, which nothing watches.
func newTestReloader(t *testing.T, s *served) (*reloader, *extauthz.Server) {
	t.Helper()
	c, _, list := config.Load("", nil, []string{"policies.dir=" + filepath.Join(s.dir, "policies"), "routes.dir=" + filepath.Join(s.dir, "routes")})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	server := new(extauthz.Server)
	r, err := newReloader(c, server, func(bool) {}, zerolog.New(s.log))
	if err != nil {
		t.Fatal(err)
	}
	return r, server
}

// Reading what is in force already, or what is known to be broken, does
// nothing and says nothing.
func TestNothingChanged(t *testing.T) {
	s := newServed(t)
	r, server := newTestReloader(t, s)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	revision, said := server.Revision(), s.log.String()
	s.write("policies/thing.yaml", policy("a")) // another file of the same content
	s.write("policies/notes.txt", "not a policy")
	s.write("policies/.hidden.yaml", "not a policy")
	if err := os.Chtimes(filepath.Join(s.dir, "routes/things.yaml"), epoch, epoch); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(); err != nil || server.Revision() != revision || s.log.String() != said {
		t.Errorf("got %v, another revision: %v, log\n%s", err, server.Revision() != revision, s.log)
	}
	s.write("policies/thing.yaml", "broken")
	if err := r.reload(); err == nil || server.Revision() != revision {
		t.Errorf("got %v", err)
	}
	said = s.log.String()
	if err := r.reload(); err != nil || server.Revision() != revision || s.log.String() != said {
		t.Errorf("the same mistakes were told twice: %v\n%s", err, s.log)
	}
	s.write("policies/thing.yaml", policy("a"))
	if err := r.reload(); err != nil || server.Revision().ID() != revision.ID() || len(s.log.entries(logInForce)) != 2 {
		t.Errorf("mended: got %v, log\n%s", err, s.log)
	}
}

// A default folder of routes may be absent at the start, and not later.
func TestDefaultRoutesFolder(t *testing.T) {
	s := newServed(t)
	t.Chdir(s.dir)
	c, _, list := config.Load("", nil, nil)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	server := new(extauthz.Server)
	r, err := newReloader(c, server, func(bool) {}, zerolog.New(s.log))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("routes", "later"); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(); err != nil || server.Revision().Routes() != 0 {
		t.Fatalf("without routes: %v, %v", err, server.Revision())
	}
	if err := os.Rename("later", "routes"); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(); err != nil || server.Revision().Routes() != 2 {
		t.Fatalf("with routes: %v, %v", err, server.Revision())
	}
	s.remove("routes")
	if err := r.reload(); err == nil || server.Revision().Routes() != 2 {
		t.Errorf("routes that are gone: %v, %d routes in force", err, server.Revision().Routes())
	}
}

// What can't be read in whole is not put in force in part.
func TestUnreadablePart(t *testing.T) {
	s := newServed(t)
	r, server := newTestReloader(t, s)
	if err := os.Symlink("nowhere", filepath.Join(s.dir, "policies/more.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(); err == nil || server.Revision() != nil {
		t.Errorf("got %v, %v", err, server.Revision())
	}
	want := `"at":"` + filepath.Join(s.dir, "policies/more.yaml") + `"`
	if !strings.Contains(s.log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, s.log)
	}
}

// A panic while loading, a bug of Edict's or of a library, leaves the process
// and what is in force as they are.
func TestLoadingPanics(t *testing.T) {
	s := newServed(t)
	r, server := newTestReloader(t, s)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	revision := server.Revision()
	r.compiler = nil // using it panics
	s.write("policies/thing.yaml", policy("b"))
	if err := r.reload(); err == nil || server.Revision() != revision {
		t.Errorf("got %v, another revision: %v", err, server.Revision() != revision)
	}
	if !strings.Contains(s.log.String(), "panicked; they were not loaded") {
		t.Errorf("the log says nothing:\n%s", s.log)
	}
}
