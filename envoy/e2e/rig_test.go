package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// An edit is a change to a file: every occurrence of old becomes new.
type edit struct{ old, new string }

// apply gives the text with the edits made. An edit that matches nothing ends
// the test: the file has changed, and the test would no longer test what it
// says.
func apply(t *testing.T, name, text string, edits ...edit) string {
	t.Helper()
	for _, e := range edits {
		if !strings.Contains(text, e.old) {
			t.Fatalf("%s has no %q any more, which this test wants to replace by %q", name, e.old, e.new)
		}
		text = strings.ReplaceAll(text, e.old, e.new)
	}
	return text
}

// Changes to envoy.yaml that tests name.
var (
	// patient gives Edict seconds where the demo gives it a quarter of one, so
	// that a machine that is busy with other things changes no answer.
	patient = []edit{
		{"timeout: 0.250s", "timeout: 10s"},
		{"connect_timeout: 0.1s", "connect_timeout: 5s"},
		{"- timeout: 0.5s", "- timeout: 10s"},
	}

	// soft takes away what Envoy does against ambiguous requests, so that they
	// get to Edict.
	soft = []edit{
		{"normalize_path: true", "normalize_path: false"},
		{"merge_slashes: true", "merge_slashes: false"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED"},
		{"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"},
		{"strip_any_host_port: true", "strip_any_host_port: false"},
		{"strip_trailing_host_dot: true", "strip_trailing_host_dot: false"},
		{"{key_matcher: {prefix: x-edict-}}", "{key_matcher: {prefix: x-off-edict-}}"},
		{"- remove: x-", "- remove: x-off-"},
	}
)

func concat(lists ...[]edit) (out []edit) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// A rig is Envoy, Edict and the expenses service, or those of them that a test
// starts, in a folder that is laid out as the repository is.
type rig struct {
	dir    string
	issuer issuer

	port      int // of Envoy
	adminPort int // of Envoy
	authz     int // of Edict
	ready     int // of Edict's own pages
	api       int // of Edict
	service   int

	// authzAddress is listen.extAuthz.
	authzAddress string

	backend, edict, envoy *process
	journalFile           string

	http1, http2 http.Transport
}

// newRig prepares a rig whose Envoy has the demo's bootstrap with edits.
// Nothing runs yet.
func newRig(t *testing.T, edits ...edit) *rig {
	t.Helper()
	needTools(t)
	dir, err := os.MkdirTemp(tools.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		dir: dir, issuer: newIssuer(t),
		port: freePort(t), adminPort: freePort(t), authz: freePort(t), ready: freePort(t), api: freePort(t), service: freePort(t),
	}
	r.authzAddress = "127.0.0.1:" + strconv.Itoa(r.authz)
	r.journalFile = r.path("journal")
	for _, folder := range []string{"policies", "envoy/routes"} {
		copyFolder(t, filepath.Join(tools.root, folder), r.path(folder))
	}
	r.write(t, ".demo/jwks.json", string(r.issuer.keySet()))
	r.write(t, "envoy/edict.yaml", readFile(t, filepath.Join(tools.root, "envoy/edict.yaml")))
	rule := `rule: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:rule)%"`
	own := append(r.ports(),
		// The log also gets what only the tests look at.
		edit{rule, rule + `
                            tested_revision: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:revision)%"
                            tested_principal: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:principal)%"`})
	r.write(t, "envoy/envoy.yaml", readFile(t, filepath.Join(tools.root, "envoy/envoy.yaml")))
	r.edit(t, "envoy/envoy.yaml", own...)
	r.edit(t, "envoy/envoy.yaml", edits...)
	r.http2.Protocols = new(http.Protocols)
	r.http2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() {
		r.http1.CloseIdleConnections()
		r.http2.CloseIdleConnections()
		if t.Failed() {
			for _, p := range []*process{r.edict, r.envoy, r.backend} {
				if p != nil {
					t.Log(p.tail())
				}
			}
		}
	})
	return r
}

// ports are the edits that give the demo's ports those of the rig.
func (r *rig) ports() []edit {
	var out []edit
	for _, p := range [][2]int{{10000, r.port}, {9901, r.adminPort}, {9001, r.authz}, {8000, r.service}} {
		out = append(out, edit{fmt.Sprintf("port_value: %d}", p[0]), fmt.Sprintf("port_value: %d}", p[1])})
	}
	return out
}

// startRig starts all three and waits until they answer.
func startRig(t *testing.T, edits ...edit) *rig {
	t.Helper()
	r := newRig(t, edits...)
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	return r
}

func (r *rig) startBackend(t *testing.T) {
	t.Helper()
	demo := filepath.Join(tools.root, "envoy", "demo")
	r.backend = launch(t, "backend", r.dir, []string{
		"EXPENSES_DB=" + r.path("expenses.db"), fmt.Sprintf("CERBOS_HOST=http://127.0.0.1:%d", r.api), "JOURNAL=" + r.journalFile,
		"PYTHONPATH=" + demo + ":" + filepath.Join(tools.root, "python", "edict-fastapi", "src"), "PYTHONDONTWRITEBYTECODE=1",
	}, tools.python, "-m", "uvicorn", "--factory", "--app-dir", filepath.Join(tools.root, "envoy", "e2e", "testdata"), "journal:app",
		"--host", "127.0.0.1", "--port", strconv.Itoa(r.service), "--no-proxy-headers", "--no-server-header", "--log-level", "warning")
}

// startEdict starts `edict serve`, with further arguments.
func (r *rig) startEdict(t *testing.T, args ...string) {
	t.Helper()
	r.edict = launch(t, "edict", r.dir, nil, append([]string{tools.edict, "serve", "--config", "envoy/edict.yaml",
		"--set", "listen.extAuthz=" + r.authzAddress,
		"--set", fmt.Sprintf("listen.admin=127.0.0.1:%d", r.ready),
		"--set", "listen.apiGRPC=", "--set", fmt.Sprintf("listen.apiHTTP=127.0.0.1:%d", r.api)}, args...)...)
}

func (r *rig) startEnvoy(t *testing.T) {
	t.Helper()
	r.envoy = launch(t, "envoy", r.dir, nil, tools.envoy, "-c", "envoy/envoy.yaml",
		"--disable-hot-restart", "--concurrency", "2", "--file-flush-interval-msec", "20", "--log-level", "warning")
}

// waitServing waits until a request gets through all three.
func (r *rig) waitServing(t *testing.T) {
	t.Helper()
	eventually(t, "a request that passes Envoy and Edict and reaches the service", func() error {
		for _, p := range []*process{r.backend, r.edict, r.envoy} {
			if p != nil {
				if err := p.alive(); err != nil {
					t.Fatalf("%v\n%s", err, p.tail())
				}
			}
		}
		return r.status(r.port, "/healthz", http.StatusOK)
	})
}

// waitEnvoy waits until Envoy answers, whatever it does.
func (r *rig) waitEnvoy(t *testing.T) {
	t.Helper()
	eventually(t, "Envoy that is ready", func() error {
		if err := r.envoy.alive(); err != nil {
			t.Fatalf("%v\n%s", err, r.envoy.tail())
		}
		return r.status(r.adminPort, "/ready", http.StatusOK)
	})
}

// status gives an error unless a page answers with a status.
func (r *rig) status(port int, path string, want int) error {
	client := http.Client{Transport: &r.http1, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return nil
}

// A readiness is what Edict's /readyz says.
type readiness struct {
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Revision string `json:"revision"`
	code     int
}

func (r *rig) readiness() (out readiness, err error) {
	client := http.Client{Transport: &r.http1, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", r.ready))
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	out.code = resp.StatusCode
	return out, json.NewDecoder(resp.Body).Decode(&out)
}

// waitReadiness waits until Edict's /readyz answers with a status.
func (r *rig) waitReadiness(t *testing.T, code int) (got readiness) {
	t.Helper()
	eventually(t, fmt.Sprintf("Edict whose /readyz answers %d", code), func() (err error) {
		if err := r.edict.alive(); err != nil {
			t.Fatalf("%v\n%s", err, r.edict.tail())
		}
		if got, err = r.readiness(); err == nil && got.code != code {
			err = fmt.Errorf("it answers %d: %+v", got.code, got)
		}
		return err
	})
	return got
}

// dial gives a gRPC connection to Edict.
func (r *rig) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(r.authzAddress, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// healthOf asks for Edict's health as Envoy does.
func healthOf(conn *grpc.ClientConn) (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"}, grpc.WaitForReady(true))
	return answer.GetStatus(), err
}

// ---- Envoy's access log ----------------------------------------------------

// An accessLine is one line of Envoy's access log.
type accessLine struct {
	ID      string `json:"id"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	Code    int    `json:"code"`
	Flags   string `json:"flags"`
	Details string `json:"details"`
	Edict   struct {
		Effect    string `json:"effect"`
		Route     string `json:"route"`
		Policy    string `json:"policy"`
		Rule      string `json:"rule"`
		Reason    string `json:"reason"`
		Revision  string `json:"tested_revision"`
		Principal string `json:"tested_principal"`
	} `json:"edict"`
}

// accessLog gives the lines that Envoy has written so far.
func (r *rig) accessLog(t *testing.T) (lines []accessLine) {
	t.Helper()
	text := readFile(t, r.envoy.out)
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		var l accessLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("the access log has a line that is not JSON: %v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines
}

// logged waits for the line of a request, by its x-request-id.
func (r *rig) logged(t *testing.T, id string) (found accessLine) {
	t.Helper()
	if id == "" {
		t.Fatal("the answer has no x-request-id to look for in the access log")
	}
	eventually(t, "the line of request "+id+" in Envoy's access log", func() error {
		for _, l := range r.accessLog(t) {
			if l.ID == id {
				found = l
				return nil
			}
		}
		return errors.New("it is not there")
	})
	return found
}

// ---- Files and ports -------------------------------------------------------

func (r *rig) path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

// edit changes a file of the rig.
func (r *rig) edit(t *testing.T, name string, edits ...edit) {
	t.Helper()
	r.write(t, name, apply(t, name, readFile(t, r.path(name)), edits...))
}

// write makes a file of the rig.
func (r *rig) write(t *testing.T, name, content string) {
	t.Helper()
	writeFile(t, r.path(name), content)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	for name, content := range readFolder(t, from) {
		writeFile(t, filepath.Join(to, filepath.FromSlash(name)), content)
	}
}

// readFolder gives the files of a folder tree by their slash-separated path.
func readFolder(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	fsys := os.DirFS(folder)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s is empty", folder)
	}
	return files
}

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freePort gives a port that nobody listens on. It is below those that systems
// give to outgoing connections, so that it stays free while a process that had
// it is being replaced.
func freePort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		if ports.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		l.Close()
		if ports.taken == nil {
			ports.taken = map[int]bool{}
		}
		ports.taken[port] = true
		return port
	}
	t.Fatal("there is no free port")
	return 0
}

// soon is a context for one call.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
