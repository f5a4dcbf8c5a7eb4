package repl

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/value"
)

var update = flag.Bool("update", false, "write what sessions answer into testdata")

// newSession makes a session over the policies of testdata. What it writes is
// in the buffer, errors too.
func newSession(t testing.TB, policies string) (*Session, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	s, list, err := New(Options{Policies: policies, Out: &out, Err: &out, Engine: engine.Options{Globals: value.Values{"env": value.OfString("test")}}})
	if err != nil || len(list) > 0 {
		t.Fatal(err, list.Render())
	}
	return s, &out
}

const (
	first = "> "
	more  = "… "
)

// replay runs the inputs of a transcript, and gives the transcript with what
// was answered. A transcript is inputs, each with its answer below.
func replay(s *Session, out *bytes.Buffer, transcript string) string {
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(transcript, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		input, ok := strings.CutPrefix(lines[i], first)
		if !ok {
			continue
		}
		b.WriteString(lines[i] + "\n")
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], strings.TrimSpace(more)) {
			i++
			if next := strings.TrimPrefix(lines[i], more); strings.TrimSpace(next) != "" && next != lines[i] {
				input += "\n" + next
			}
			b.WriteString(lines[i] + "\n")
		}
		out.Reset()
		s.Run(input)
		b.WriteString(out.String())
	}
	return b.String()
}

// Sessions answer as the transcripts say.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.repl")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, out := newSession(t, "testdata/policies")
			got := replay(s, out, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the session goes\n%s\nand not\n%s", got, want)
			}
		})
	}
}

// What the documentation shows is what happens, in one session from top to
// bottom.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/policies/repl.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../../../..")
	s, out := newSession(t, "policies")
	found := 0
	for _, block := range strings.Split(string(page), "\n```")[1:] {
		text, ok := strings.CutPrefix(block, "text repl\n")
		if !ok {
			continue
		}
		found++
		if got := replay(s, out, text); got != text+"\n" {
			t.Errorf("the page says\n%s\nbut the session goes\n%s", text, got)
		}
	}
	if found < 5 {
		t.Errorf("only %d examples were found", found)
	}
	for _, d := range directives() {
		if !strings.Contains(string(page), "`:"+d.names[0]) {
			t.Errorf("the page does not name :%s", d.names[0])
		}
	}
}

func TestScript(t *testing.T) {
	for _, test := range []struct {
		name, script, out, err string
		ok                     bool
	}{
		{"right", "1 + 1\n\n:let x = [1,\n  2]\nx[1]\n", "2\nx = [1, 2]\n2\n", "", true},
		{"wrong line", "1\n\"x\" +\n  nope\n3", "1\n3\n", "stdin:3:3: error: undeclared reference to 'nope'", false},
		{"end within", "1\n(2 +", "1\n", "stdin:2:5: error: Syntax error", false},
		{"a blank line ends what is open", "(1 +\n\n2", "2\n", "stdin:1:5: error: Syntax error", false},
		{"nothing after the end", "1\n:quit\n2\n", "1\n", "", true},
		{"no line break at the end, CRLF", "1\r\n2", "1\n2\n", "", true},
		{"data over lines", "1\n:principal {\n  id: ann,\n  rols: []\n}\n", "1\n", "stdin:4:3: error: unknown field \"rols\"", false},
		{"failed evaluation", "R.attr.x\n", "", "stdin:1:8: error: no such key: x", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, out := newSession(t, "")
			var errs bytes.Buffer
			s.Err, s.File = &errs, "stdin"
			ok, err := s.Script(context.Background(), strings.NewReader(test.script))
			if ok != test.ok || err != nil {
				t.Errorf("got %v, %v", ok, err)
			}
			if out.String() != test.out {
				t.Errorf("got %q, want %q", out, test.out)
			}
			if !strings.HasPrefix(errs.String(), test.err) || test.err == "" && errs.Len() > 0 {
				t.Errorf("got\n%s\nwant\n%s", &errs, test.err)
			}
		})
	}
}

// Policies are read again when they change; broken ones are told, and change
// nothing.
func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(effect string) string {
		return "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: album\n  version: default\n  rules:\n    - {actions: [view], effect: " + effect + ", roles: [user]}\n"
	}
	write("a.yaml", policy("EFFECT_ALLOW"))
	s, out := newSession(t, dir)
	s.Run(`:request {principal: {id: a, roles: [user]}, resource: {kind: album, id: b}}`)
	after := func(change func()) string {
		t.Helper()
		change()
		out.Reset()
		s.Refresh()
		s.Run(":check view")
		return out.String()
	}
	for _, step := range []struct {
		change func()
		want   []string
	}{
		{func() {}, []string{"view: EFFECT_ALLOW"}},
		{func() { write("a.yaml", policy("EFFECT_DENY")) }, []string{"the policies changed: 1 policy\nview: EFFECT_DENY"}},
		{func() { write("a.yaml", policy("EFFECT_ALOW")) }, []string{"a.yaml:6:33", "those from before stay\nview: EFFECT_DENY"}},
		{func() {}, []string{"view: EFFECT_DENY"}},
		{func() { write("a.yaml", policy("EFFECT_ALLOW")) }, []string{"the policies changed: 1 policy\nview: EFFECT_ALLOW"}},
		{func() { write("b.yaml", strings.Replace(policy("EFFECT_ALLOW"), "album", "other", 1)) }, []string{"2 policies"}},
		{func() { os.Remove(filepath.Join(dir, "a.yaml")) }, []string{"1 policy\nview: EFFECT_DENY, since no policy"}},
	} {
		got := after(step.change)
		for _, want := range step.want {
			if !strings.Contains(got, want) {
				t.Errorf("got\n%s\nwithout %q", got, want)
			}
		}
	}
}

// A session over policies that do not compile says so, and evaluates.
func TestBrokenPolicies(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("apiVersion: x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s, list, err := New(Options{Policies: dir, Out: &out, Err: &out})
	if err != nil || len(list) == 0 {
		t.Fatal(err, list)
	}
	if s.Run("1 + 1"); out.String() != "2\n" {
		t.Errorf("got %s", &out)
	}
}

// A panic is an error of its line.
func TestPanic(t *testing.T) {
	s, out := newSession(t, "")
	s.set = nil
	if s.Run("1") || !strings.Contains(out.String(), "a mistake of Edict") {
		t.Errorf("got %s", out)
	}
	if s.Run(":help"); !strings.Contains(out.String(), ":quit") {
		t.Error("the session does not go on")
	}
}

// An explanation names what decides, and of a denial what would allow it.
func TestExplain(t *testing.T) {
	s, out := newSession(t, "testdata/policies")
	s.Run(":load testdata/request.json")
	for line, want := range map[string][]string{
		":explain view":   {"anybody-views-public", "testdata/policies/album.yaml:22", "P.attr.tier in C.tiers"},
		":explain delete": {"rule-003", "testdata/policies/album.yaml:35", "R.attr.locked"},
		":explain edit":   {"owner", `R.attr.owner`, `"ann"`},
		":explain":        {"view", "edit", "delete"},
	} {
		out.Reset()
		if ok := s.Run(line); !ok {
			t.Errorf("%s fails: %s", line, out)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s gives\n%s\nwithout %q", line, out, w)
			}
		}
	}
}

// Types show at a terminal only.
func TestColor(t *testing.T) {
	s, out := newSession(t, "testdata/policies")
	s.Color = true
	s.Run(":load testdata/request.json")
	s.Run("1")
	s.Run("R.attr.photos")
	if got, want := out.String(), "1  \x1b[2mint\x1b[0m\n97.0  \x1b[2mdouble\x1b[0m\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestComplete(t *testing.T) {
	s, _ := newSession(t, "testdata/policies")
	for _, line := range []string{":load testdata/request.json", ":let total = 3", ":let place = {\"city\": 1}"} {
		if !s.Run(line) {
			t.Fatal(line)
		}
	}
	for _, test := range []struct {
		line string // the cursor is at its end
		word string
		want []string // some of them
		not  []string
	}{
		{":po", "po", []string{"policies", "policy"}, []string{"help"}},
		{":", "", []string{"help", "let", "quit"}, []string{"h", "q"}},
		{":policy res", "res", []string{"resource.album.vdefault"}, []string{"principal.root.vdefault"}},
		{":policy ", "", []string{"derived_roles.album_roles", "principal.root.vdefault"}, nil},
		{":load testdata/po", "testdata/po", []string{"testdata/policies/", "testdata/policies.repl"}, []string{"testdata/request.json"}},
		{":check v", "v", []string{"view"}, []string{"delete", "*"}},
		{":explain view d", "d", []string{"delete", "download"}, nil},
		{":exec #", "#", []string{"#0", "#3"}, nil},
		{":help pri", "pri", []string{"principal"}, nil},
		{":set R.attr.pla", "R.attr.pla", []string{"R.attr.place"}, nil},
		{":set R.attr.x = P.attr.t", "t", []string{"tier"}, nil},
		{":unset P.", "P.", []string{"P.id", "P.attr"}, nil},
		{":let z = tot", "tot", []string{"total"}, nil},
		{"tim", "tim", []string{"timestamp(", "timeSince("}, nil},
		{"P", "P", []string{"P"}, []string{"R"}},
		{"P.", "", []string{"id", "roles", "attr", "scope", "policyVersion"}, []string{"kind"}},
		{"1 + R.", "", []string{"id", "kind", "attr"}, []string{"roles"}},
		{"request.", "", []string{"principal", "resource", "auxData"}, nil},
		{"request.resource.attr.p", "p", []string{"photos", "public", "place"}, []string{"owner"}},
		{"R.attr.", "", []string{"owner", "photos", "locked", "state", "place"}, nil},
		{"R.attr.place.c", "c", []string{"city", "country"}, nil},
		{"V.", "", []string{"isPublic", "room", "idle"}, []string{"owns"}},
		{"C.t", "t", []string{"tiers"}, nil},
		{"G.", "", []string{"env"}, nil},
		{"runtime.e", "e", []string{"effectiveDerivedRoles"}, nil},
		{"math.a", "a", []string{"abs("}, []string{"ceil("}},
		{"place.", "", []string{"city"}, nil},
		{"P.roles.", "", []string{"exists(", "hasIntersection("}, []string{"startsWith(", "ancestorOf("}},
		{"P.id.st", "st", []string{"startsWith("}, nil},
		{"R.attr.owner.", "", []string{"startsWith("}, []string{"exists("}},
		{`hierarchy("a.b").anc`, "anc", []string{"ancestorOf("}, nil},
		{`["a"].`, "", []string{"map(", "join("}, []string{"startsWith("}},
		{`"a".`, "", []string{"split("}, []string{"map("}},
		{"now().", "", []string{"getHours(", "timeSince("}, []string{"split("}},
		{`"R.`, "", nil, []string{"attr"}},
		{"nope.", "", nil, []string{"attr"}},
		{"[1,\nP.i", "i", []string{"id"}, nil},
	} {
		start, found := s.complete(test.line, len(test.line))
		if word := test.line[start:]; word != test.word {
			t.Errorf("%q: completes %q, not %q", test.line, word, test.word)
		}
		got := names(found)
		for _, want := range test.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q lacks %s", test.line, got, want)
			}
		}
		for _, not := range test.not {
			if slices.Contains(got, not) {
				t.Errorf("%q: %q has %s", test.line, got, not)
			}
		}
	}
}

// Candidates say what they are.
func TestCandidateDetails(t *testing.T) {
	s, _ := newSession(t, "testdata/policies")
	s.Run(":load testdata/request.json")
	for _, test := range []struct{ line, text, detail string }{
		{"inIP", "", ""},
		{`"1.2.3.4".inIP`, "inIPAddrRange(", "string.inIPAddrRange(string) → bool"},
		{"R.attr.pho", "photos", "= 97"},
		{"R.attr.sta", "state", `"open" or "closed"`},
		{":pol", "policy", "[key or -]"},
	} {
		_, found := s.complete(test.line, len(test.line))
		if i := slices.IndexFunc(found, func(c candidate) bool { return c.text == test.text }); test.text == "" {
			if len(found) > 0 {
				t.Errorf("%s: got %v", test.line, found)
			}
		} else if i < 0 || found[i].detail != test.detail {
			t.Errorf("%s: got %v", test.line, found)
		}
	}
}

// Tab writes what is certain, and lists the rest.
func TestTab(t *testing.T) {
	s, _ := newSession(t, "testdata/policies")
	for _, test := range []struct {
		earlier, line string
		at            int
		want          string
		wantAt        int
		listed        string
	}{
		{"", "R.attr.x > P.rol + 1", 16, "R.attr.x > P.roles + 1", 18, ""},
		{"", ":pol", 4, ":polic", 6, ""},
		{"", ":polic", 6, ":polic", 6, "  policies  list the policies\n  policy    [key or -]\n"},
		{"(1 +", "R.ki", 4, "R.kind", 6, ""},
		{"", "nothing.", 8, "nothing.", 8, ""},
	} {
		var listed bytes.Buffer
		line, at, ok := s.tab(&listed, test.earlier, test.line, test.at)
		if line != test.want || at != test.wantAt || !ok || listed.String() != test.listed {
			t.Errorf("%q: got %q, %d, %v, %q", test.line, line, at, ok, &listed)
		}
	}
}

// Every function of the table is one of the language, with the type that the
// table says.
func TestFunctions(t *testing.T) {
	s, _ := newSession(t, "")
	samples := map[string]string{
		"string": "P.id", "int": "size(P.roles)", "uint": "uint(P.id)", "double": "double(P.id)", "bool": `(P.id == "")`, "bytes": "bytes(P.id)",
		"list": "P.roles", "map": "P.attr", "timestamp": "now()", "duration": "timeSince(now())", "any": "P.id", "ip": "ip(P.id)", "cidr": "cidr(P.id)",
		"hierarchy": "hierarchy(P.id)", "spiffeID": "spiffeID(P.id)", "spiffeTrustDomain": "spiffeTrustDomain(P.id)", "spiffeMatcher": "spiffeMatchAny()",
		"optional": "optional.of(P.id)", "a.b": "P.id", "x": "x", "key": "x", "index": "i", "condition": "true", "entry": "{string(x): 1}", "value": "1", "expression": "x",
	}
	for _, f := range functions() {
		var args []string
		if f.params != "" {
			for _, p := range strings.Split(f.params, ", ") {
				args = append(args, samples[p])
			}
		}
		if strings.HasPrefix(f.params, "index, ") || strings.HasPrefix(f.params, "key, x, ") {
			args[0] = "i"
			args[1] = "x"
		}
		source := f.name + "(" + strings.Join(args, ", ") + ")"
		switch f.name {
		case "flatten":
			source = "[P.roles]." + source
		case "unwrapOpt":
			source = "[optional.of(1)]." + source
		case "optional.unwrap":
			source = "optional.unwrap([optional.of(1)])"
		default:
			if f.receiver != "" {
				source = samples[f.receiver] + "." + source
			}
		}
		e, issues := s.compute("", source)
		if len(issues) > 0 {
			t.Errorf("%s: %s: %v", f.signature(), source, issues[0].Message)
			continue
		}
		if got := (function{receiver: f.result}); f.result != "dyn" && e.Type != "dyn" && !got.fits(e.Type) && !strings.HasPrefix(e.Type, f.result) {
			t.Errorf("%s: %s gives %s", f.signature(), source, e.Type)
		}
	}
}

// Completion knows the functions of the documentation.
func TestFunctionsOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/policies/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range functions() {
		known[f.name[strings.LastIndexByte(f.name, '.')+1:]] = true
	}
	rows := regexp.MustCompile("(?m)^\\| `[^|]*").FindAllString(string(page), -1)
	names := 0
	for _, row := range rows {
		for _, m := range regexp.MustCompile("`[^`]*`").FindAllString(row, -1) {
			call := regexp.MustCompile(`^.(?:[\w"\[\]]+\.)*(\w+)\(`).FindStringSubmatch(m)
			if call == nil {
				continue
			}
			names++
			if !known[call[1]] && !strings.Contains(call[1], "_") { // other spellings
				t.Errorf("%s is documented, and completion does not know it", m)
			}
		}
	}
	if names < 100 {
		t.Errorf("only %d functions were found", names)
	}
}

func TestHistory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "history")
	h, err := openHistory(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"a", "a", " ", "b", "ü"} {
		h.add(line)
	}
	again, err := openHistory(file)
	if h := (terminal{again}); err != nil || h.Len() != 3 || h.At(0) != "ü" || h.At(2) != "a" {
		t.Errorf("got %v, %v", again.lines, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for range 2 * maxHistory {
		h.add("x")
		h.add("y")
	}
	if again, _ = openHistory(file); len(again.lines) != maxHistory {
		t.Errorf("%d lines are kept", len(again.lines))
	}
	// Where no file can be, lines are kept for the session.
	if h, err = openHistory(filepath.Join(file, "no", "folder")); err == nil {
		t.Error("a file is taken for a folder")
	}
	if h.add("a"); len(h.lines) != 1 {
		t.Error("the line is lost")
	}
}

// An input of several lines is one entry, if it means the same on one line.
func TestHistoryOfSeveralLines(t *testing.T) {
	h, _ := openHistory("")
	terminal{h}.Add("(1 +")
	h.addInput([]string{"(1 +", "  2)"})
	h.addInput([]string{"1 + \\", "2"})
	h.addInput([]string{"(1 + // one", "2)"})
	if got, want := strings.Join(h.lines, "|"), "(1 + 2)|1 + 2|(1 + // one|2)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHistoryFile(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{"HOME=/h"}, "/h/.local/state/edict/history"},
		{[]string{"HOME=/h", "XDG_STATE_HOME=/s"}, "/s/edict/history"},
		{[]string{"HOME=/h", "XDG_STATE_HOME=s"}, "/h/.local/state/edict/history"},
		{[]string{"HOME=/h", "EDICT_HISTORY=/x"}, "/x"},
		{[]string{"HOME=/h", "EDICT_HISTORY="}, ""},
		{nil, ""},
	} {
		if got := HistoryFile(test.environ); got != test.want {
			t.Errorf("%v: got %q, want %q", test.environ, got, test.want)
		}
	}
}
