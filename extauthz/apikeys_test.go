package extauthz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/value"
	"edict/extauthz/routemap"
)

func keyFile(t testing.TB, entries ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, name, entries...)
	return name
}

// writeKeys writes a file of keys: of each entry the first word is the key.
func writeKeys(t testing.TB, name string, entries ...string) {
	t.Helper()
	content := "apiVersion: edict.dev/v1\napiKeys:\n"
	for _, e := range entries {
		key, rest, _ := strings.Cut(e, " ")
		sum := sha256.Sum256([]byte(key))
		content += "  - {hash: \"sha256:" + hex.EncodeToString(sum[:]) + "\", " + rest + "}\n"
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	robotKey    = "robot-0123456789abcdef"
	expiredKey  = "expired-0123456789abcdef"
	disabledKey = "disabled-0123456789abcdef"
)

const keyRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: pages
  routes:
    - {name: page, match: {path: /page}, resource: {kind: page, id: p}, action: read}
    - {name: robots, match: {path: /robots}, identity: [robots], resource: {kind: page, id: p}, action: read}
    - {name: people, match: {path: /people}, identity: [people], resource: {kind: page, id: p}, action: read}
    - {name: open, match: {path: /open}, identity: [robots], anonymous: true, resource: {kind: page, id: p}, action: read}
`

func TestAPIKeys(t *testing.T) {
	file := keyFile(t, robotKey+" id: robot, roles: [batch], attributes: {team: billing}",
		expiredKey+` id: robot, roles: [batch], expires: "2020-01-01T00:00:00Z"`, disabledKey+" id: robot, roles: [batch], disabled: true")
	var seen Record
	o := Options{
		Identity: []Source{
			{Name: "robots", APIKeys: &APIKeys{File: file, From: []TokenPlace{{Header: "x-api-key"}, {Cookie: "key"}, {Query: "key"}}}},
			{Name: "people", JWTMetadata: &JWTMetadata{}},
		},
		PrincipalHeader: "x-edict-principal",
		Observe:         func(r *Record) { seen = *r },
	}
	c, err := NewCompiler(engine.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	maps, list := routemap.ParseAll([]folder.File{{Name: "routes.yaml", Content: []byte(keyRoutes)}})
	rev, more := c.Compile("x", policiesOf(t, []string{peerPolicy}), nil, maps)
	if list = append(list, more...); len(list) > 0 {
		t.Fatal(list.Render())
	}
	s := new(Server)
	s.Use(rev)
	if got, status := reason(check(t, s, get("/page").with("x-api-key: "+robotKey))); got != "keys_unavailable" || status != 503 {
		t.Errorf("before the keys are there: got %s (%d)", got, status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	c.sources[0].await(ctx)

	failed := map[string]any{"jwt_failure": map[string]any{"code": 3.0, "message": "Jwt is expired"}}
	key := "x-api-key: " + robotKey
	for _, tt := range []struct {
		name    string
		request testRequest
		failed  bool
		want    string
		status  int
		who     string
	}{
		{"in a header", get("/page").with(key), false, "allow", 200, "robot"},
		{"in a cookie", get("/page").with("cookie: a=b; key=" + robotKey), false, "allow", 200, "robot"},
		{"in a parameter", get("/page?key=" + robotKey), false, "allow", 200, "robot"},
		{"none", get("/page"), false, "no_identity", 401, ""},
		{"none, where nobody is admitted", get("/open"), false, "allow", 200, "anonymous"},
		{"unknown", get("/page").with("x-api-key: unknown-0123456789abcdef"), false, "bad_token", 401, ""},
		{"unknown, where nobody is admitted", get("/open").with("x-api-key: unknown-0123456789abcdef"), false, "bad_token", 401, ""},
		{"expired", get("/page").with("x-api-key: " + expiredKey), false, "bad_token", 401, ""},
		{"disabled", get("/page").with("x-api-key: " + disabledKey), false, "bad_token", 401, ""},
		{"two keys", get("/page?key=" + robotKey).with(key), false, "bad_request", 400, ""},
		{"one key twice", get("/page").with(key, key), false, "bad_request", 400, ""},
		{"a token", get("/page").as("jane", "user"), false, "allow", 200, "jane"},
		{"a key and a verified token", get("/page").as("jane", "user").with(key), false, "bad_request", 400, ""},
		{"a key and a token that nobody verified", get("/page").with(key, "authorization: Bearer x.y.z"), false, "bad_request", 400, ""},
		{"a key and a rejected token", get("/page").with(key), true, "bad_request", 400, ""},
		{"a bad key and a verified token", get("/page").as("jane", "user").with("x-api-key: unknown-0123456789abcdef"), false, "bad_request", 400, ""},
		{"a key and a token where keys alone count", get("/robots").as("jane", "user").with(key), false, "allow", 200, "robot"},
		{"a key and a token where tokens alone count", get("/people").as("jane", "user").with(key), false, "allow", 200, "jane"},
	} {
		if tt.failed {
			tt.request.metadata = failed
		}
		out := check(t, s, tt.request)
		if got, status := reason(out); got != tt.want || status != tt.status {
			t.Errorf("%s: got %s (%d, %s: %v), want %s (%d)", tt.name, got, status, seen.Detail, seen.Err, tt.want, tt.status)
			continue
		}
		if tt.want != "allow" {
			continue
		}
		set, removed := upstream(out)
		if set["x-edict-principal"] != tt.who || !slices.Contains(removed, "x-api-key") {
			t.Errorf("%s: the upstream learns of %q, and loses %q", tt.name, set["x-edict-principal"], removed)
		}
		if inQuery := strings.Contains(tt.request.path, "key="); inQuery && !slices.Equal(out.GetOkResponse().GetQueryParametersToRemove(), []string{"key"}) {
			t.Errorf("%s: the upstream gets the key in the query", tt.name)
		}
		if want := map[string]Provenance{"robot": FromConfig, "jane": VerifiedJWT, "anonymous": AnonymousUser}[tt.who]; seen.Source != want {
			t.Errorf("%s: the provenance is %s", tt.name, seen.Source)
		}
	}
	// What is there against a key is not told.
	var answers []string
	for _, k := range []string{"unknown-0123456789abcdef", expiredKey, disabledKey} {
		answers = append(answers, check(t, s, get("/page").with("x-api-key: "+k)).GetDeniedResponse().String())
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("answers differ: %q", answers)
	}
	told := rev.Explain(t.Context(), get("/page").with(key).bytes(t))
	if got := value.OfMapping(told.Requests[0].Principal.Attr).Native(); got.(map[string]any)["team"] != "billing" || !slices.Equal(told.Requests[0].Principal.Roles, []string{"batch"}) {
		t.Errorf("got %v with %v", got, told.Requests[0].Principal.Roles)
	}
}

// A changed file is read again. A bad one changes nothing, and is told of
// without a hash.
func TestAPIKeysAreReloaded(t *testing.T) {
	file := keyFile(t, robotKey+" id: robot")
	warnings := make(chan error, 10)
	k := (&APIKeys{File: file}).compile(func(err error) { warnings <- err })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go k.run(ctx)
	k.await(ctx)
	if k.store.Find(robotKey, time.Now()) == nil || k.missing() != nil {
		t.Fatal("the key is not known")
	}
	if err := os.WriteFile(file, []byte("apiVersion: edict.dev/v1\napiKeys: [{id: x, hash: sha256:1234}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-warnings:
		if !strings.Contains(err.Error(), "the old ones stay in force") || strings.Contains(err.Error(), "1234") {
			t.Errorf("told: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told of a bad file")
	}
	if k.store.Find(robotKey, time.Now()) == nil {
		t.Error("a bad file took the keys away")
	}
	writeKeys(t, file, "another-0123456789abcdef id: robot")
	for deadline := time.After(20 * time.Second); k.store.Find(robotKey, time.Now()) != nil; {
		select {
		case <-deadline:
			t.Fatal("the file was not read again")
		case <-time.After(10 * time.Millisecond):
		}
	}
	none := (&APIKeys{File: file + "x"}).compile(nil)
	none.read()
	if none.missing() == nil {
		t.Error("a file that is not there is not missing")
	}
}
