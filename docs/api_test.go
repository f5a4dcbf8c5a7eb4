package docs

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"edict/api"
	"edict/engine"
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
			m := regexp.MustCompile(`^curl -s http://127\.0\.0\.1:3592(\S+) -d '([^']*)'\n$`).FindStringSubmatch(b.text)
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
