package docs

import (
	"encoding/base64"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/api"
	"edict/api/admin"
	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

// What docs/api.md asks is answered, by the policy that it shows, as it says.
func TestAPIAnswersAsItSays(t *testing.T) {
	var ps *engine.PolicySet
	var asked []string // method, target and body
	callID := regexp.MustCompile(`"cerbosCallId": "\w{26}"`)
	answers := 0
	for _, b := range blocks(read(t, "docs/api.md")) {
		switch {
		case b.info == "yaml policy":
			p, list := policyfile.Parse("docs/api.md", []byte(b.text))
			if len(list) > 0 {
				t.Fatal(list.Render())
			}
			if ps, list = engine.Compile([]*policy.Policy{p}, engine.Options{}); len(list) > 0 {
				t.Fatal(list.Render())
			}
		case b.info == "sh" && strings.HasPrefix(b.text, "curl "):
			m := regexp.MustCompile(`^curl -s 'http://127\.0\.0\.1:3592(\S+)' -d '([^']*)'\n$`).FindStringSubmatch(b.text)
			if m == nil {
				t.Fatalf("docs/api.md:%d: this test can't read the command", b.line)
			}
			asked = m[1:]
		case b.info == "json" && asked != nil:
			s := &api.Server{Policies: func() *engine.PolicySet { return ps }}
			w := httptest.NewRecorder()
			s.Handler(api.HTTPOptions{}).ServeHTTP(w, httptest.NewRequest("POST", asked[0], strings.NewReader(asked[1])))
			got, want := callID.ReplaceAllString(w.Body.String(), ""), callID.ReplaceAllString(strings.TrimSpace(b.text), "")
			if got != want {
				t.Errorf("docs/api.md:%d: the answer is\n%s", b.line, w.Body)
			}
			answers++
			asked = nil
		}
	}
	if asked != nil || answers == 0 {
		t.Errorf("found %d answers, and nothing for %q", answers, asked)
	}
}

// What docs/admin.md asks is answered as it says, with the credentials that it
// shows, about a policy that is called as it says.
func TestAdminAPIAnswersAsItSays(t *testing.T) {
	page := read(t, "docs/admin.md")
	var config struct {
		API struct {
			Admin struct {
				Username     string
				PasswordHash string `yaml:"passwordHash"`
			}
		}
	}
	var commands string
	for _, b := range blocks(page) {
		switch b.info {
		case "yaml config":
			if err := yaml.Unmarshal([]byte(b.text), &config); err != nil {
				t.Fatal(err)
			}
		case "console":
			commands += b.text
		}
	}
	hash, err := base64.StdEncoding.DecodeString(config.API.Admin.PasswordHash)
	if err != nil {
		t.Fatal(err)
	}
	policies, list := policyfile.ParseAll([]folder.File{{Name: "policies/expense.yaml", Content: []byte(
		"apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: expense, version: default}\n")}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	store := admin.NewStore("./policies", policies, nil)
	calls := &api.Server{}
	s, err := admin.New(calls, func() *admin.Store { return store }, admin.Credentials{Username: config.API.Admin.Username, PasswordHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?m)^\$ curl -su (\w+):(\w+) 'http://127\.0\.0\.1:3592(\S+)'\n(.*)$`).FindAllStringSubmatch(commands, -1)
	if len(asked) < 2 || len(asked) != strings.Count(commands, "$ ") {
		t.Fatalf("this test can read %d commands of\n%s", len(asked), commands)
	}
	for _, a := range asked {
		r := httptest.NewRequest("GET", a[3], nil)
		r.SetBasicAuth(a[1], a[2])
		w := httptest.NewRecorder()
		calls.Handler(api.HTTPOptions{Mounted: s.Handlers()}).ServeHTTP(w, r)
		if got := strings.TrimSpace(w.Body.String()); got != a[4] {
			t.Errorf("%s, with the password %s, is answered\n%s", a[3], a[2], got)
		}
	}
}
