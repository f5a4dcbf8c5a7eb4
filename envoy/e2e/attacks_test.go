package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// An attack is a case of testdata/attacks.yaml; what its members mean is told
// there.
type attack struct {
	Name     string      `yaml:"name"`
	Never    string      `yaml:"never"`
	As       string      `yaml:"as"`
	From     string      `yaml:"from"`
	Request  string      `yaml:"request"`
	Headers  []string    `yaml:"headers"`
	Body     string      `yaml:"body"`
	Raw      string      `yaml:"raw"`
	HTTP2    [][2]string `yaml:"http2"`
	Repeat   int         `yaml:"repeat"`
	Hardened statuses    `yaml:"hardened"`
	Soft     statuses    `yaml:"soft"`
	Runs     []string    `yaml:"runs"`
}

// statuses are the answers in order; 0 is a connection that was closed instead.
type statuses []int

func (s *statuses) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var one int
		*s = statuses{0}
		if err := n.Decode(&one); err != nil {
			return err
		}
		(*s)[0] = one
		return nil
	}
	return n.Decode((*[]int)(s))
}

func readAttacks(t *testing.T) []attack {
	t.Helper()
	in, err := os.Open("testdata/attacks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var attacks []attack
	decoder := yaml.NewDecoder(in)
	decoder.KnownFields(true)
	if err := decoder.Decode(&attacks); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, a := range attacks {
		forms := 0
		for _, given := range []bool{a.Request != "", a.Raw != "", a.HTTP2 != nil} {
			if given {
				forms++
			}
		}
		if a.Name == "" || names[a.Name] || a.Never == "" || forms != 1 || len(a.Hardened) == 0 || len(a.Soft) == 0 {
			t.Fatalf("testdata/attacks.yaml: the case %q lacks a name of its own, never, one of request, raw and http2, hardened, or soft", a.Name)
		}
		names[a.Name] = true
	}
	return attacks
}

// TestAttacks sends requests that two servers could read in two ways, byte by
// byte, past an Envoy as it should be set up and past one that leaves
// everything to Edict, even what becomes of its failures. A case passes if the service did nothing that the caller
// may not do, and heard of nobody but the caller.
func TestAttacks(t *testing.T) {
	needTools(t)
	attacks := readAttacks(t)
	for _, mode := range []struct {
		name  string
		edits []edit
		want  func(attack) statuses
	}{
		{"hardened Envoy", nil, func(a attack) statuses { return a.Hardened }},
		{"soft Envoy", soft, func(a attack) statuses { return a.Soft }},
		// If Edict failed to answer anything here, that would be let pass.
		{"soft Envoy that fails open", concat(soft, []edit{{"failure_mode_allow: false", "failure_mode_allow: true"}}),
			func(a attack) statuses { return a.Soft }},
	} {
		t.Run(mode.name, func(t *testing.T) {
			// Envoy leaves a connection that it is done with open for a second,
			// for slow readers.
			hurried := edit{"stat_prefix: public\n", "stat_prefix: public\n                delayed_close_timeout: 0.01s\n"}
			r := startRig(t, concat(patient, mode.edits, []edit{hurried})...)
			begin := r.mark(t)
			var callers []caller
			for _, a := range attacks {
				t.Run(a.Name, func(t *testing.T) {
					c := caller{a.As, office, time.Now()}
					if a.From != "" {
						c.from = a.From
					}
					callers = append(callers, c)
					want := mode.want(a)
					before := r.mark(t)
					got := r.attack(t, a, c.from, len(want))
					c2 := c
					c2.at = time.Now() // the hour may have changed
					entries := r.since(t, before)
					for _, wrong := range judge(entries, c, c2) {
						t.Errorf("this must never happen: %s: %s", a.Never, wrong)
					}
					var ran []string
					for _, e := range entries {
						if e.Operation != nil {
							ran = append(ran, e.Operation.String())
						}
					}
					if len(entries) > 0 && !slices.Equal(ran, a.Runs) {
						t.Errorf("the service was reached and ran %q, want %q", ran, a.Runs)
					}
					if !slices.Equal(got, want) {
						t.Errorf("answered %v, want %v", got, want)
					}
				})
			}
			// What was still under way when a case was judged is judged here.
			if wrong := judge(r.since(t, begin), callers...); len(wrong) > 0 {
				t.Errorf("in the end: %q", wrong)
			}
			if err := r.status(r.port, "/healthz", http.StatusOK); err != nil {
				t.Errorf("in the end: %v", err)
			}
		})
	}
}

// attack sends a case and gives the statuses of the answers, padded with zeros
// to n of them.
func (r *rig) attack(t *testing.T, a attack, from string, n int) statuses {
	t.Helper()
	fill := r.filler(t, a)
	var answers []answer
	if a.HTTP2 != nil {
		fields := make([][2]string, len(a.HTTP2))
		for i, f := range a.HTTP2 {
			fields[i] = [2]string{fill(f[0]), fill(f[1])}
		}
		if a.As != "" {
			fields = append(fields, [2]string{"authorization", "Bearer " + r.issuer.token(a.As)})
		}
		answers = []answer{r.sendRaw2(t, from, fields, fill(a.Body))}
	} else {
		answers = r.sendRaw(t, from, r.bytesOf(a, fill), n)
	}
	got := make(statuses, max(n, len(answers)))
	for i, answer := range answers {
		got[i] = answer.status
	}
	return got
}

// filler gives a function that makes bytes of a text of the data file: {alice}
// and the like become tokens, {pad} and the like what is repeated, and every
// other character the byte of its number.
func (r *rig) filler(t *testing.T, a attack) func(string) string {
	var tokens []string
	for name, what := range map[string]string{"{pad}": " ", "{open}": "[", "{x}": "x", "{amp}": "&x=1"} {
		tokens = append(tokens, name, strings.Repeat(what, a.Repeat))
	}
	for who := range people {
		tokens = append(tokens, "{"+who+"}", r.issuer.token(who))
	}
	replace := strings.NewReplacer(tokens...)
	return func(s string) string {
		out := make([]byte, 0, len(s))
		for _, c := range s {
			if c > 0xff {
				t.Fatalf("%s: %q is no byte; write it as escapes of its bytes", a.Name, c)
			}
			out = append(out, byte(c))
		}
		return replace.Replace(string(out))
	}
}

// bytesOf gives the bytes of an HTTP/1 case.
func (r *rig) bytesOf(a attack, fill func(string) string) []byte {
	if a.Raw != "" {
		return []byte(fill(a.Raw))
	}
	has := func(name string) bool {
		return slices.ContainsFunc(a.Headers, func(line string) bool {
			return strings.HasPrefix(strings.ToLower(line), name+":")
		})
	}
	lines := []string{fill(a.Request) + " HTTP/1.1"}
	if !has("host") {
		lines = append(lines, "Host: expenses.example")
	}
	if a.As != "" && !has("authorization") {
		lines = append(lines, "Authorization: Bearer "+r.issuer.token(a.As))
	}
	for _, h := range a.Headers {
		lines = append(lines, fill(h))
	}
	body := fill(a.Body)
	if body != "" {
		if !has("content-type") {
			lines = append(lines, "Content-Type: application/json")
		}
		if !has("content-length") && !has("transfer-encoding") {
			lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
		}
	}
	if !has("connection") {
		lines = append(lines, "Connection: close")
	}
	return fmt.Appendf(nil, "%s\r\n\r\n%s", strings.Join(lines, "\r\n"), body)
}

// TestAttacksCanSucceed takes the policies away: then the judge must object to
// what he is shown. It would be worth nothing if nothing could make it fail.
func TestAttacksCanSucceed(t *testing.T) {
	r := newRig(t, concat(patient, soft)...)
	r.write(t, "policies/expenses/expense.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: expense\n  version: default\n"+
		"  rules:\n    - actions: ['*']\n      roles: ['*']\n      effect: EFFECT_ALLOW\n")
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	for _, a := range []attack{
		{Request: "GET /expenses/apac/dave/7", As: "alice"},
		{Request: "GET /expenses?region=apac", As: "alice"},
		{Request: "POST /expenses/emea/bob/3/approve", As: "bob", Body: `{"amount":80}`},
		{Request: "DELETE /expenses/emea/alice/5", As: "bob"},
	} {
		before := r.mark(t)
		r.attack(t, a, office, 1)
		if wrong := judge(r.since(t, before), caller{a.As, office, time.Now()}); len(wrong) != 1 {
			t.Errorf("%s: the judge objects to %q, want one objection", a.Request, wrong)
		}
	}
}
