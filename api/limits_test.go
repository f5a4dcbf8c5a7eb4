package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

// oneOfEach is a good request of each call, in JSON.
var oneOfEach = map[string]string{
	"CheckResources":     allowed,
	"CheckResourceSet":   `{"principal":{"id":"ann","roles":["user"]},"actions":["view"],"resource":{"kind":"doc","instances":{"1":{}}}}`,
	"CheckResourceBatch": `{"principal":{"id":"ann","roles":["user"]},"resources":[{"actions":["view"],"resource":{"kind":"doc","id":"1"}}]}`,
	"PlanResources":      `{"principal":{"id":"ann","roles":["user"]},"action":"view","resource":{"kind":"doc"}}`,
}

// overGRPC makes a call over gRPC.
func overGRPC(t testing.TB, conn *grpc.ClientConn, call, body string) (proto.Message, error) {
	t.Helper()
	in, out := newMessage(t, methodOf(t, call).Input()), newMessage(t, methodOf(t, call).Output())
	if err := protojson.Unmarshal([]byte(body), in); err != nil {
		t.Fatal(err)
	}
	return out, conn.Invoke(t.Context(), "/"+ServiceName+"/"+call, in, out)
}

// Calls beyond the limit are refused while others are under way, and no longer.
// Who tells of the server is not among them.
func TestCallsBeyondTheLimit(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.InFlight = 2
	var told, panicked atomic.Int64
	s.Panicked = func(any, []byte) { panicked.Add(1) }
	h, conn := s.Handler(HTTPOptions{Health: health.NewServer()}), dial(t, s)

	var slow atomic.Bool
	entered, leave := make(chan struct{}), make(chan struct{})
	policies := s.Policies
	s.Policies = func() *engine.PolicySet {
		if slow.Load() {
			entered <- struct{}{}
			<-leave
		}
		return policies()
	}
	var under sync.WaitGroup
	slow.Store(true)
	under.Go(func() {
		if w := ask(h, "POST", paths["CheckResources"], allowed); w.Code != 200 {
			t.Errorf("under way: got %d %s", w.Code, w.Body)
		}
	})
	under.Go(func() {
		if _, err := overGRPC(t, conn, "CheckResources", allowed); err != nil {
			t.Errorf("under way: got %v", err)
		}
	})
	<-entered
	<-entered
	slow.Store(false)
	for call, body := range oneOfEach {
		s.Overloaded = func(string) { told.Add(1) }
		if w := ask(h, "POST", paths[call], body); w.Code != 503 || w.Body.String() != `{"code":14,"message":"too many calls are being answered"}` {
			t.Errorf("%s: got %d %s", call, w.Code, w.Body)
		}
		if _, err := overGRPC(t, conn, call, body); status.Code(err) != codes.Unavailable {
			t.Errorf("%s over gRPC: got %v", call, err)
		}
		s.Overloaded = func(string) { panic("nobody looks") }
		if w := ask(h, "POST", paths[call], body); w.Code != 500 {
			t.Errorf("%s, and whoever is told panics: got %d %s", call, w.Code, w.Body)
		}
	}
	if got, want := told.Load(), int64(2*len(oneOfEach)); got != want || panicked.Load() != want/2 {
		t.Errorf("told of %d, want %d", got, want)
	}
	for _, path := range []string{"/api/server_info", "/_cerbos/health"} {
		if w := ask(h, "GET", path, ""); w.Code != 200 {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	if _, err := overGRPC(t, conn, "ServerInfo", "{}"); err != nil {
		t.Error(err)
	}
	close(leave)
	under.Wait()

	// However calls end, they are no longer under way.
	s.Policies = func() *engine.PolicySet { panic("a bug") }
	for range 3 {
		ask(h, "POST", paths["CheckResources"], allowed)
		_, _ = overGRPC(t, conn, "CheckResources", allowed)
		ask(h, "POST", paths["CheckResources"], "{")
		_, _ = overGRPC(t, conn, "PlanResources", "{}")
	}
	s.Policies = policies
	for call, body := range oneOfEach {
		if w := ask(h, "POST", paths[call], body); w.Code != 200 {
			t.Errorf("%s afterwards: got %d %s", call, w.Code, w.Body)
		}
		if _, err := overGRPC(t, conn, call, body); err != nil {
			t.Errorf("%s over gRPC afterwards: got %v", call, err)
		}
	}
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("%d are under way", n)
	}
}

// A slowIssuer answers requests for its keys once it may.
type slowIssuer struct {
	keys []byte
	may  chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (i *slowIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-i.may:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(i.keys)), Request: r}, nil
}

// Calls that wait for the keys of tokens are half of all at most, so that an issuer
// which does not answer keeps nobody out who brings no token.
func TestCallsThatWaitForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t)
		keys, token := issuer(t)
		slow := &slowIssuer{keys, make(chan struct{})}
		var err error
		s.AuxData, err = auxdata.New(t.Context(), auxdata.Options{
			KeySets:   []auxdata.KeySet{{ID: "slow", Remote: &auxdata.Remote{URL: "https://issuer.example/keys"}}},
			Transport: slow,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Limits.InFlight, s.Limits.Time = 5, 5*time.Second
		told := ""
		s.Overloaded = func(reason string) { told = reason }
		h := s.Handler(HTTPOptions{})
		withToken := `{"auxData":{"jwt":{"token":"` + token + `"}},` + allowed[1:]
		var waiting sync.WaitGroup
		wait := func(want int) {
			for range 2 {
				waiting.Go(func() {
					if w := ask(h, "POST", paths["CheckResources"], withToken); w.Code != want {
						t.Errorf("who waits got %d %s, want %d", w.Code, w.Body, want)
					}
				})
			}
			synctest.Wait()
			const reason = "too many calls are waiting for the keys of tokens"
			if w := ask(h, "POST", paths["CheckResources"], withToken); w.Code != 503 || w.Body.String() != `{"code":14,"message":"`+reason+`"}` || told != reason {
				t.Errorf("one too many got %d %s, told of %q", w.Code, w.Body, told)
			}
			if w := ask(h, "POST", paths["CheckResources"], allowed); w.Code != 200 {
				t.Errorf("without a token: got %d %s", w.Code, w.Body)
			}
		}
		wait(504)
		waiting.Wait() // until their time is over
		wait(200)
		close(slow.may)
		waiting.Wait()
		for range 3 {
			waiting.Go(func() {
				if w := ask(h, "POST", paths["CheckResources"], withToken); w.Code != 200 {
					t.Errorf("with the keys: got %d %s", w.Code, w.Body)
				}
			})
		}
		waiting.Wait()
		if waiting, inFlight := s.waiting.Load(), s.inFlight.Load(); waiting != 0 || inFlight != 0 {
			t.Errorf("%d are waiting and %d under way", waiting, inFlight)
		}
	})
}

// slowReader takes an answer once it may.
type slowReader struct {
	*httptest.ResponseRecorder
	writing, may chan struct{}
}

func (w *slowReader) Write(b []byte) (int, error) {
	close(w.writing)
	<-w.may
	return w.ResponseRecorder.Write(b)
}

// Who sends or reads slowly keeps nobody out.
func TestSlowClientsAreNotInFlight(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.InFlight = 1
	h := s.Handler(HTTPOptions{})
	sent, sending := io.Pipe()
	w := &slowReader{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, httptest.NewRequest("POST", paths["CheckResources"], sent))
	}()
	if _, err := io.WriteString(sending, allowed[:40]); err != nil { // it is read
		t.Fatal(err)
	}
	if got := ask(h, "POST", paths["CheckResources"], allowed); got.Code != 200 {
		t.Errorf("while somebody sends: got %d %s", got.Code, got.Body)
	}
	if _, err := io.WriteString(sending, allowed[40:]); err != nil {
		t.Fatal(err)
	}
	sending.Close()
	<-w.writing
	if got := ask(h, "POST", paths["CheckResources"], allowed); got.Code != 200 {
		t.Errorf("while somebody reads: got %d %s", got.Code, got.Body)
	}
	close(w.may)
	<-done
	if w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// telling gives a server whose answers repeat what requests say: validation errors
// of a principal and actions for each resource, attributes of a principal wherever a
// condition of a doc names them, and of what is told for each action, or for each
// member of a list.
func telling(t testing.TB) *Server {
	t.Helper()
	const text = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  schemas: {principalSchema: {ref: "cerbos:///texts.json"}}
  rules:
    - {actions: ["*"], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: R.attr.a == P.attr.t || R.attr.b == P.attr.t}}}
`
	const told = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: told
  version: default
  rules:
    - {actions: ["tell-*"], effect: EFFECT_ALLOW, roles: [user], output: {when: {ruleActivated: P.attr.t}}}
    - {actions: [repeat], effect: EFFECT_ALLOW, roles: [user], output: {when: {ruleActivated: "R.attr.n.map(x, P.attr.t)"}}}
`
	policies, list := policyfile.ParseAll([]folder.File{{Name: "doc.yaml", Content: []byte(text)}, {Name: "told.yaml", Content: []byte(told)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	compiler, err := engine.NewCompiler(engine.Options{SchemaEnforcement: engine.SchemaWarn})
	if err != nil {
		t.Fatal(err)
	}
	ps, list := compiler.Compile(policies, schema.New(map[string][]byte{"texts.json": []byte(`{"additionalProperties": {"type": "string"}}`)}))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return &Server{
		Policies: func() *engine.PolicySet { return ps },
		Limits:   Limits{Actions: 50, Resources: 50, Message: 1 << 20},
		Panicked: func(v any, stack []byte) { t.Errorf("a panic: %v\n%s", v, stack) },
	}
}

// A request can't make an answer that is many times as long, whatever is told many
// times: over HTTP, and over gRPC in the same way.
func TestAnswersAreBounded(t *testing.T) {
	s := telling(t)
	h, conn := s.Handler(HTTPOptions{}), dial(t, s)
	wrong := make([]string, 1000) // attributes that break the schema
	for i := range wrong {
		wrong[i] = fmt.Sprintf(`"%s%d":1`, strings.Repeat("x", 300), i)
	}
	invalid := `"principal":{"id":"ann","roles":["user"],"attr":{` + strings.Join(wrong, ",") + `}}`
	user := `"principal":{"id":"ann","roles":["user"]}`
	big := `"principal":{"id":"ann","roles":["user"],"attr":{"t":"` + strings.Repeat("x", 400<<10) + `"}}`
	times := func(n int, format string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, ",")
	}
	const entry, instance = `{"actions":["view"],"resource":{"kind":"doc","id":"%d"}}`, `"%d":{}`
	long := `"actions":[` + times(50, `"`+strings.Repeat("x", 1000)+`%d"`) + `]`
	for _, tt := range []struct {
		name, call, body string
		fits             bool
	}{
		{"few validation errors", "CheckResources", `{` + invalid + `,"resources":[` + times(2, entry) + `]}`, true},
		{"validation errors", "CheckResources", `{` + invalid + `,"resources":[` + times(5, entry) + `]}`, false},
		{"few validation errors of a batch", "CheckResourceBatch", `{` + invalid + `,"resources":[` + times(2, entry) + `]}`, true},
		{"validation errors of a batch", "CheckResourceBatch", `{` + invalid + `,"resources":[` + times(5, entry) + `]}`, false},
		{"few validation errors of a set", "CheckResourceSet", `{` + invalid + `,"actions":["view"],"resource":{"kind":"doc","instances":{` + times(2, instance) + `}}}`, true},
		{"validation errors of a set", "CheckResourceSet", `{` + invalid + `,"actions":["view"],"resource":{"kind":"doc","instances":{` + times(5, instance) + `}}}`, false},
		{"long actions of few", "CheckResourceSet", `{` + user + `,` + long + `,"resource":{"kind":"doc","instances":{` + times(10, instance) + `}}}`, true},
		{"long actions of many", "CheckResourceSet", `{` + user + `,` + long + `,"resource":{"kind":"doc","instances":{` + times(50, instance) + `}}}`, false},
		{"long actions of few, and what decided", "CheckResourceSet", `{"includeMeta":true,` + user + `,` + long + `,"resource":{"kind":"doc","instances":{` + times(15, instance) + `}}}`, false},
		{"a plan", "PlanResources", `{` + big + `,"action":"view","resource":{"kind":"doc"}}`, true},
		{"a plan, and its text", "PlanResources", `{"includeMeta":true,` + big + `,"action":"view","resource":{"kind":"doc"}}`, false},
		{"validation errors of a plan", "PlanResources", `{` + invalid + `,"action":"view","resource":{"kind":"doc"}}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[tt.fits]
			w := ask(h, "POST", paths[tt.call], tt.body)
			if w.Code != want || !tt.fits && w.Body.String() != `{"code":8,"message":"the answer is longer than it may be (1048576)"}` {
				t.Errorf("got %d %.200s, want %d", w.Code, w.Body, want)
			}
			out, err := overGRPC(t, conn, tt.call, tt.body)
			if (err == nil) != tt.fits || !tt.fits && status.Code(err) != codes.ResourceExhausted {
				t.Errorf("over gRPC: got %.200v", err)
			}
			if tt.fits && strings.Contains(tt.name, "validation") && !strings.Contains(fmt.Sprint(out), "expected string, but got number") {
				t.Errorf("the answer has no validation errors: %.200v", out)
			}
		})
	}
}

// One decision can't tell many times as much as an answer may have, either: it ends
// while that grows. Calls whose answers have no outputs evaluate none.
func TestOutputsOfOneDecisionAreBounded(t *testing.T) {
	s := telling(t)
	h := s.Handler(HTTPOptions{})
	tell := make([]string, 50)
	for i := range tell {
		tell[i] = fmt.Sprintf(`"tell-%d"`, i)
	}
	user := `"principal":{"id":"ann","roles":["user"],"attr":{"t":"` + strings.Repeat("x", 400<<10) + `"}}`
	entry := func(actions string) string {
		return `{"actions":[` + actions + `],"resource":{"kind":"told","id":"1","attr":{"n":[` + strings.TrimSuffix(strings.Repeat("1,", 1000), ",") + `]}}}`
	}
	for _, tt := range []struct {
		call, actions string
		want          int
	}{
		{"CheckResources", `"tell-1","tell-2"`, 200},
		{"CheckResources", strings.Join(tell, ","), 429}, // 20 MB
		{"CheckResources", `"repeat"`, 429},              // 400 MB
		{"CheckResourceBatch", strings.Join(tell, ","), 200},
		{"CheckResourceBatch", `"repeat"`, 200},
		{"CheckResourceSet", `"repeat"`, 200},
	} {
		body := `{` + user + `,"resources":[` + entry(tt.actions) + `]}`
		if tt.call == "CheckResourceSet" {
			body = `{` + user + `,"actions":[` + tt.actions + `],"resource":{"kind":"told","instances":{"1":{"attr":{"n":[1]}}}}}`
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := ask(h, "POST", paths[tt.call], body)
		runtime.ReadMemStats(&after)
		if w.Code != tt.want || tt.want == 429 && w.Body.String() != `{"code":8,"message":"the answer is longer than it may be (1048576)"}` {
			t.Errorf("%s of %.20s: got %d %.200s, want %d", tt.call, tt.actions, w.Code, w.Body, tt.want)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 12<<20 && !raceEnabled { // the race detector takes memory of its own
			t.Errorf("%s of %.20s: %d bytes were taken", tt.call, tt.actions, got)
		}
	}
}

// The weight of an answer is that of its results as they are encoded, however they
// came about.
func TestWeight(t *testing.T) {
	s, _ := newServer(t)
	for _, actions := range [][]string{{"view", "print", "none"}, {"view", "edit"}} {
		b := everything(t, actions...)
		out, err := decoded(s, b)
		if err != nil {
			t.Fatal(err)
		}
		weight := proto.Size(&cerbospb.CheckResourcesResponse{Results: out.GetResults()})
		for most, want := range map[int]codes.Code{weight: codes.OK, weight - 1: codes.ResourceExhausted} {
			s.Limits.Message = most
			if !checkSame(t, s, b) {
				t.Errorf("%q: not read in place", actions)
			}
			if _, err := decoded(s, b); status.Code(err) != want {
				t.Errorf("%q, at most %d: got %v, want %s", actions, most, err, want)
			}
		}
		s.Limits.Message = 0
	}
}

// Why a plan can't be made is told to the server alone.
func TestUnplannable(t *testing.T) {
	s, _ := newServer(t)
	var told []error
	s.Unplanned = func(err error) { told = append(told, err) }
	w := ask(s.Handler(HTTPOptions{}), "POST", paths["PlanResources"], `{"principal":{"id":"ann","roles":["user"]},"action":"copy","resource":{"kind":"doc"}}`)
	if w.Code != 500 || w.Body.String() != `{"code":13,"message":"the plan can't be made; the log of the server says why"}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	const want = `rule copy of resource.doc.vdefault: cel.bind(o, R.attr.original, o != "" && o == R.id): a construct such as cel.bind or sortBy on unknown data can't be part of a filter`
	if len(told) != 1 || told[0].Error() != want {
		t.Errorf("told of %v", told)
	}
}

// What a client says is coming takes no memory before it is there.
func TestAnnouncedBodiesTakeNoMemory(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	const calls = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		r := httptest.NewRequest("POST", paths["CheckResources"], strings.NewReader(allowed))
		r.ContentLength = int64(s.Limits.Message)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / calls; got > 512<<10 {
		t.Errorf("%d bytes are taken for a body of %d", got, len(allowed))
	}
}

// Bodies that are arriving are bounded in all. Small ones still get through, and
// large ones as soon as the others are here.
func TestArrivingBodiesAreBounded(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.Message = 128 << 10 // of which the second half counts
	var told atomic.Int64
	s.Overloaded = func(string) { told.Add(1) }
	h := s.Handler(HTTPOptions{})
	large := strings.Repeat(" ", s.Limits.Message-len(allowed)) + allowed
	var under sync.WaitGroup
	var open []*io.PipeWriter
	for range 2 * mostArriving {
		sent, sending := io.Pipe()
		open = append(open, sending)
		under.Go(func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", paths["CheckResources"], sent))
			sent.Close()
			if w.Code != 200 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
		for _, part := range []string{large[:len(large)-10], large[len(large)-10 : len(large)-9]} { // the second is read once the first is counted
			if _, err := io.WriteString(sending, part); err != nil {
				t.Fatal(err)
			}
		}
	}
	if w := ask(h, "POST", paths["CheckResources"], large); w.Code != 503 || w.Body.String() != `{"code":14,"message":"too many bodies are arriving"}` || told.Load() != 1 {
		t.Errorf("one too many: got %d %s, told of %d", w.Code, w.Body, told.Load())
	}
	if w := ask(h, "POST", paths["CheckResources"], allowed); w.Code != 200 {
		t.Errorf("a small one: got %d %s", w.Code, w.Body)
	}
	for _, sending := range open {
		if _, err := io.WriteString(sending, large[len(large)-9:]); err != nil {
			t.Error(err)
		}
		sending.Close()
	}
	under.Wait()
	for range 3 {
		if w := ask(h, "POST", paths["CheckResources"], large); w.Code != 200 {
			t.Errorf("afterwards: got %d %s", w.Code, w.Body)
		}
	}
	if n := s.arriving.Load(); n != 0 {
		t.Errorf("%d bytes are held for nobody", n)
	}
}
