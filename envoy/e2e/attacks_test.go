package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// An attack is a case of testdata/attacks; what its members mean is told in the
// README there.
type attack struct {
	Name     string      `yaml:"name"`
	Class    string      `yaml:"class"`
	Never    string      `yaml:"never"`
	As       string      `yaml:"as"`
	Caller   string      `yaml:"caller"`
	From     string      `yaml:"from"`
	Request  string      `yaml:"request"`
	Headers  []string    `yaml:"headers"`
	Body     string      `yaml:"body"`
	Raw      string      `yaml:"raw"`
	HTTP2    [][2]string `yaml:"http2"`
	Repeat   int         `yaml:"repeat"`
	Token    *tampered   `yaml:"token"`
	Hardened statuses    `yaml:"hardened"`
	Soft     statuses    `yaml:"soft"`
	Own      statuses    `yaml:"own"`
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

// classes are the kinds of attack that the corpus must have an example of.
var classes = []string{
	// of the target
	"dot segments", "encoded dots", "double encoding", "encoded slashes", "backslashes", "double slashes", "path parameters",
	"letter case", "trailing characters", "control characters", "overlong UTF-8", "Unicode look-alikes", "fragments",
	"encoded delimiters", "repeated parameters", "odd delimiters of parameters", "absolute targets", "paths without a slash",
	"prefix of an open route", "host tricks", "gRPC paths", "pseudo-headers",
	// of the method and the connection
	"method override", "HEAD and OPTIONS", "upgrades", "hop-by-hop headers", "request smuggling",
	// of headers
	"header spoofing", "underscore twins", "duplicate headers", "headers that are not text", "proxy control headers",
	"forwarded addresses", "forwarded certificates", "response splitting", "redirects", "oversized requests",
	// of the body
	"cut bodies", "compressed bodies", "content types", "repeated fields", "JSON tricks", "deep nesting", "huge bodies", "forms",
	// of tokens
	"no algorithm", "key confusion", "key id injection", "expired or not yet good", "wrong audience or issuer", "wrong type",
	"critical extension", "claims of the wrong type", "two tokens", "oversized token",
}

// readAttacks reads the cases of some files of testdata/attacks.
func readAttacks(t *testing.T, pattern string) (attacks []attack) {
	t.Helper()
	files, err := filepath.Glob("testdata/attacks/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	names := map[string]bool{}
	for _, name := range files {
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var some []attack
		decoder := yaml.NewDecoder(in)
		decoder.KnownFields(true)
		err = decoder.Decode(&some)
		in.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, a := range some {
			forms := 0
			for _, given := range []bool{a.Request != "", a.Raw != "", a.HTTP2 != nil} {
				if given {
					forms++
				}
			}
			if a.Name == "" || names[a.Name] || a.Never == "" || forms != 1 || len(a.Hardened) == 0 || len(a.Soft) == 0 {
				t.Fatalf("%s: the case %q lacks a name of its own, never, one of request, raw and http2, hardened, or soft", name, a.Name)
			}
			if a.Class != "" && !slices.Contains(classes, a.Class) {
				t.Fatalf("%s: the case %q is of a class %q that nobody knows", name, a.Name, a.Class)
			}
			names[a.Name] = true
		}
		attacks = append(attacks, some...)
	}
	return attacks
}

// The corpus has an example of every kind of attack, and enough of all.
func TestAttackCorpusIsWhole(t *testing.T) {
	attacks := readAttacks(t, "*.yaml")
	for _, c := range classes {
		if !slices.ContainsFunc(attacks, func(a attack) bool { return a.Class == c }) {
			t.Errorf("no case is of the class %q", c)
		}
	}
	if len(attacks) < 300 {
		t.Errorf("there are %d cases", len(attacks))
	}
}

// tampered is a token that somebody changed.
type tampered struct {
	Of     string         `yaml:"of"`
	Header map[string]any `yaml:"header"`
	Claims map[string]any `yaml:"claims"`
	By     string         `yaml:"by"`
}

// make makes the token; fill is for texts in its claims.
func (k *tampered) make(t *testing.T, i issuer, fill func(string) string) string {
	header := map[string]any{"alg": "ES256", "typ": "JWT", "kid": keyID}
	for name, v := range k.Header {
		if header[name] = v; v == nil {
			delete(header, name)
		}
	}
	changes := map[string]any{}
	for name, v := range k.Claims {
		text, isText := v.(string)
		if d, err := time.ParseDuration(text); isText && err == nil {
			v = time.Now().Add(d).Unix()
		} else if isText {
			v = fill(text)
		}
		changes[name] = v
	}
	all := claims(k.Of, changes)
	switch k.By {
	case "":
		return i.signWith(header, all)
	case "stranger":
		return newIssuer(t).signWith(header, all)
	case "secret":
		return i.hmac(header, all)
	case "nobody":
		return signingInput(header, all) + "."
	}
	signature := i.token(k.By)
	return signingInput(header, all) + signature[strings.LastIndexByte(signature, '.'):]
}

// TestAttacks sends requests that two servers could read in two ways, byte by
// byte, past an Envoy as it should be set up and past one that leaves
// everything to Edict, even what becomes of its failures. A case passes if the service did nothing that the caller
// may not do, and heard of nobody but the caller.
func TestAttacks(t *testing.T) {
	needTools(t)
	attacks := readAttacks(t, "*.yaml")
	for _, mode := range []struct {
		name  string
		edits []edit
		want  func(attack) statuses
	}{
		{"hardened Envoy", nil, func(a attack) statuses { return a.Hardened }},
		{"soft Envoy", soft, func(a attack) statuses { return a.Soft }},
		// If Edict failed to answer anything here, that would be let pass.
		{"soft Envoy that fails open", concat(soft, []edit{failOpen}),
			func(a attack) statuses { return a.Soft }},
	} {
		t.Run(mode.name, func(t *testing.T) {
			startRig(t, concat(patient, mode.edits, []edit{hurried})...).attackAll(t, attacks, mode.want)
		})
	}
}

// Envoy leaves a connection that it is done with open for a second, for slow
// readers.
var hurried = edit{"stat_prefix: public\n", "stat_prefix: public\n                delayed_close_timeout: 0.01s\n"}

// attackAll sends cases and judges what becomes of them.
func (r *rig) attackAll(t *testing.T, attacks []attack, answers func(attack) statuses) {
	begin := r.mark(t)
	var callers []caller
	for _, a := range attacks {
		t.Run(a.Name, func(t *testing.T) {
			c := caller{a.As, office, time.Now()}
			if a.Caller != "" {
				c.who = a.Caller
			}
			if a.From != "" {
				c.from = a.From
			}
			callers = append(callers, c)
			want := answers(a)
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
}

// otherSources is a configuration of Edict that believes certificates of which
// a proxy tells, beside tokens.
const otherSources = `
policies: {dir: policies}
routes: {dir: envoy/routes}
identity:
  sources:
    - jwtMetadata: {}
    - xfcc:
        from: {addresses: [127.0.0.1/32]}
        trustDomains: [edict.example]
        roles: [{match: "spiffe://edict.example/ns/shop/sa/audit", roles: [auditor]}]
`

// chatRoute is a route for WebSockets alone. The service knows none.
const chatRoute = `apiVersion: edict.dev/v1
routeMap:
  name: chat
  hosts: ["*"]
  routes:
    - name: connect
      match: {methods: [GET], path: /chat, upgrade: websocket}
      resource: {kind: service, id: expenses}
      action: whoami
`

// TestAttacksOnOtherSources sends the cases of testdata/attacks/sources past an
// Envoy that believes every X-Forwarded-Client-Cert and opens WebSockets, so
// that Edict alone stands against them.
func TestAttacksOnOtherSources(t *testing.T) {
	needTools(t)
	attacks := append(readAttacks(t, "sources/certificates.yaml"), readAttacks(t, "sources/websockets.yaml")...)
	trusting := edit{"stat_prefix: public\n", "stat_prefix: public\n                delayed_close_timeout: 0.01s\n" +
		"                forward_client_cert_details: ALWAYS_FORWARD_ONLY\n                upgrade_configs: [{upgrade_type: websocket}]\n"}
	// Edict takes the header away.
	removing := edit{"^x-edict-[a-z0-9-]+$", "^(x-edict-[a-z0-9-]+|x-forwarded-client-cert)$"}
	tunnels := edit{"http2_protocol_options:\n                  max_concurrent_streams: 100", "http2_protocol_options:\n                  allow_connect: true\n                  max_concurrent_streams: 100"}
	for _, mode := range []struct {
		name  string
		edits []edit
		want  func(attack) statuses
	}{
		{"hardened Envoy", nil, func(a attack) statuses { return a.Hardened }},
		{"soft Envoy that fails open", concat(soft, []edit{failOpen}), func(a attack) statuses { return a.Soft }},
	} {
		t.Run(mode.name, func(t *testing.T) {
			r := newRig(t, concat(patient, mode.edits, []edit{trusting, removing, tunnels})...)
			r.write(t, "envoy/edict.yaml", otherSources)
			r.write(t, "envoy/routes/chat.yaml", chatRoute)
			r.startBackend(t)
			r.startEdict(t)
			r.startEnvoy(t)
			r.waitServing(t)
			r.attackAll(t, attacks, mode.want)
		})
	}
}

// ownTokens is a configuration of Edict that verifies tokens itself, as it must
// where it is asked before Envoy has.
const ownTokens = `
policies: {dir: policies}
routes: {dir: envoy/routes}
identity:
  sources:
    - jwt:
        from: [{header: authorization}, {query: token}]
        forward: false
        issuers:
          - issuer: https://idp.edict.example/
            audiences: expenses
            clockSkew: 5s
            keys: {file: .demo/jwks.json}
`

// TestAttacksOnTokensThatEdictVerifies sends all that is done to tokens to an
// Edict that verifies them, past an Envoy that looks at none and fails open.
func TestAttacksOnTokensThatEdictVerifies(t *testing.T) {
	needTools(t)
	attacks := append(readAttacks(t, "tokens.yaml"), readAttacks(t, "sources/tokens.yaml")...)
	r := newRig(t, concat(patient, []edit{hurried, failOpen,
		{"- match: {prefix: /}\n                          requires:", "- match: {path: /never}\n                          requires:"},
		// Edict takes the token away.
		{"^x-edict-[a-z0-9-]+$", "^(x-edict-[a-z0-9-]+|authorization)$"},
	})...)
	r.write(t, "envoy/edict.yaml", ownTokens)
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	r.attackAll(t, attacks, func(a attack) statuses {
		if a.Own != nil {
			return a.Own
		}
		return a.Hardened
	})
}

// failOpen makes Envoy let pass what Edict fails to answer.
var failOpen = edit{"failure_mode_allow: false", "failure_mode_allow: true"}

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
	for name, what := range map[string]string{"{pad}": " ", "{open}": "[", "{x}": "x", "{amp}": "&x=1", "{segments}": "/x", "{ones}": "1,"} {
		tokens = append(tokens, name, strings.Repeat(what, a.Repeat))
	}
	var headers []string
	for i := range a.Repeat {
		headers = append(headers, fmt.Sprintf("x-%d: 1", i))
	}
	tokens = append(tokens, "{headers}", strings.Join(headers, "\r\n"))
	if a.Token != nil {
		tokens = append(tokens, "{token}", a.Token.make(t, r.issuer, strings.NewReplacer(tokens...).Replace))
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
		{Request: "GET /totals?region=apac", As: "alice"},
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
