package sdktest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"edict/extauthz/testca"
)

// patience is how long a server may take to start. It is long, since it only
// matters when something is broken.
const patience = 30 * time.Second

// A lab is where servers are started.
type lab struct {
	root      string // the repository's
	dir       string // for all that the tests make
	binary    string
	cert, key string // files
}

// newLab prepares a lab with Edict, or with the Cerbos that is to be asked, and
// with the policies of the table. It skips the test unless it is asked for.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv(enable) == "" {
		t.Skip(howEnabled)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The name is short, since the path of a socket may have a hundred bytes.
	dir, err := os.MkdirTemp("", "edict-sdk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lab{root: root, dir: dir, cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
	for from, to := range map[string]string{"testdata/policies": "policies", filepath.Join(root, "policies", "expenses"): "policies/expenses"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	if *cerbos != "" {
		if l.binary, err = filepath.Abs(*cerbos); err != nil {
			t.Fatal(err)
		}
		return l
	}
	l.binary = filepath.Join(dir, "edict")
	build := exec.Command("go", "build", "-o", l.binary, "./cmd/edict")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building edict: %v\n%s", err, out)
	}
	return l
}

// within gives a lab with the same binary in a folder of its own, without
// policies.
func (l *lab) within(t *testing.T, folder string) *lab {
	t.Helper()
	in := *l
	in.dir = filepath.Join(l.dir, folder)
	if err := os.Mkdir(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &in
}

// write writes a file of the lab.
func (l *lab) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(l.dir, name)
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a server for each transport, and gives them by transport.
func (l *lab) start(t *testing.T) map[string]target {
	t.Helper()
	authority := testca.New(t, "sdktest")
	// The Python SDK knows a server behind a Unix socket as cerbos.sock.
	cert, key := authority.Issue(t, testca.Spec{CommonName: "pdp", DNS: []string{"localhost", "cerbos.sock"}, IPs: []string{"127.0.0.1"}})
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": authority.PEM()} {
		l.write(t, name, string(content))
	}
	ca := filepath.Join(l.dir, "ca.crt")
	serve := func(t *testing.T, name, httpAddress, grpcAddress string, has with) addresses {
		// As Cerbos does by default: its plans say nothing of what fails, and strict
		// evaluation is about that.
		has.lenient = true
		if *cerbos != "" {
			return l.cerbos(t, name, httpAddress, grpcAddress, has)
		}
		return l.edict(t, name, httpAddress, grpcAddress, has)
	}
	socket := func(name string) string { return filepath.Join(l.dir, name) }
	tcp := serve(t, "tcp", "127.0.0.1:0", "127.0.0.1:0", with{})
	secure := serve(t, "tls", "127.0.0.1:0", "127.0.0.1:0", with{tls: true})
	serve(t, "unix", "unix:"+socket("http"), "unix:"+socket("grpc"), with{})
	serve(t, "unixtls", "unix:"+socket("https"), "unix:"+socket("grpcs"), with{tls: true})
	admin := serve(t, "admin", "127.0.0.1:0", "127.0.0.1:0", with{admin: true})
	return map[string]target{
		"admin":    {HTTP: "http://" + admin.http, GRPC: admin.grpc, Whole: true, Admin: &credentials{adminName, adminPassword}},
		"tcp":      {HTTP: "http://" + tcp.http, GRPC: tcp.grpc, Whole: true},
		"tls":      {HTTP: "https://" + secure.http, GRPC: secure.grpc, CA: ca},
		"unix":     {HTTP: "unix://" + socket("http"), GRPC: "unix:" + socket("grpc")},
		"unix tls": {HTTP: "unix+https://" + socket("https"), CA: ca}, // over HTTP alone
	}
}

// with says what a server has that is off by default.
type with struct{ tls, admin, lenient bool }

// The credentials of the Admin API, and the bcrypt hash of the password in base64.
const (
	adminName     = "root"
	adminPassword = "secret"
	adminHash     = "JDJhJDEwJEF5MUpleE5aaEJxSlM4UWgwazhhVGVQbDVYU0I2M1JjZm1GLklrTi9YOG1mTXFSenFtQ05x"
)

// addresses are where a server listens.
type addresses struct{ http, grpc string }

// The settings that both servers have.
const (
	maxActions   = 5
	maxResources = 5
)

func keySets() map[string]any {
	var sets []any
	for _, id := range []string{"people", "machines"} {
		file, err := filepath.Abs("testdata/" + id + ".jwks.json")
		if err != nil {
			panic(err) // the working directory is gone
		}
		sets = append(sets, map[string]any{"id": id, "local": map[string]any{"file": file}})
	}
	return map[string]any{"jwt": map[string]any{"keySets": sets}}
}

// edict starts Edict with its defaults, save what the table is about.
func (l *lab) edict(t *testing.T, name, httpAddress, grpcAddress string, has with) addresses {
	t.Helper()
	listen := map[string]any{"extAuthz": "127.0.0.1:0", "admin": "127.0.0.1:0", "apiHTTP": httpAddress, "apiGRPC": grpcAddress}
	if has.tls {
		files := map[string]any{"cert": l.cert, "key": l.key}
		listen["tls"] = map[string]any{"apiHTTP": files, "apiGRPC": files}
	}
	api := map[string]any{}
	if has.admin {
		api["admin"] = map[string]any{"enabled": true, "username": adminName, "passwordHash": adminHash}
	}
	log := l.launch(t, name, []string{"serve", "--config"}, map[string]any{
		"api":           api,
		"engine":        map[string]any{"strictEvaluation": !has.lenient},
		"listen":        listen,
		"policies":      map[string]any{"dir": "policies"},
		"schema":        map[string]any{"enforcement": "reject"},
		"requestLimits": map[string]any{"maxActionsPerResource": maxActions, "maxResourcesPerRequest": maxResources},
		"auxData":       keySets(),
	})
	line := log(func(entry map[string]any) bool { return entry["message"] == "listening" })
	at, _ := line["apiHTTP"].(string)
	grpc, _ := line["apiGRPC"].(string)
	return addresses{at, grpc}
}

// cerbos starts the real one.
func (l *lab) cerbos(t *testing.T, name, httpAddress, grpcAddress string, has with) addresses {
	t.Helper()
	// It doesn't tell the port that it was given. Somebody could take these in
	// between; nobody but whoever records answers would notice.
	if httpAddress == "127.0.0.1:0" {
		httpAddress, grpcAddress = freeAddress(t), freeAddress(t)
	}
	server := map[string]any{
		"httpListenAddr": httpAddress, "grpcListenAddr": grpcAddress,
		"requestLimits": map[string]any{"maxActionsPerResource": maxActions, "maxResourcesPerRequest": maxResources},
	}
	if has.tls {
		server["tls"] = map[string]any{"cert": l.cert, "key": l.key}
	}
	if has.admin {
		server["adminAPI"] = map[string]any{"enabled": true, "adminCredentials": map[string]any{"username": adminName, "passwordHash": adminHash}}
	}
	log := l.launch(t, name, []string{"server", "--debug-listen-addr=", "--config"}, map[string]any{
		"server":    server,
		"engine":    map[string]any{"strictEvaluation": !has.lenient},
		"schema":    map[string]any{"enforcement": "reject"},
		"auxData":   keySets(),
		"storage":   map[string]any{"driver": "disk", "disk": map[string]any{"directory": "policies"}},
		"telemetry": map[string]any{"disabled": true},
	})
	log(func(entry map[string]any) bool {
		message, _ := entry["message"].(string)
		return strings.HasPrefix(message, "Starting HTTP server")
	})
	return addresses{httpAddress, grpcAddress}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// launch starts the binary with a configuration, and gives what waits for a
// line of its log. The process ends with the test.
func (l *lab) launch(t *testing.T, name string, arguments []string, config map[string]any) func(func(map[string]any) bool) map[string]any {
	t.Helper()
	content, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := name + ".yaml"
	l.write(t, file, string(content))
	cmd := exec.Command(l.binary, append(arguments, file)...)
	cmd.Dir = l.dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EDICT_") && !strings.HasPrefix(e, "CERBOS_") { // none of its settings
			cmd.Env = append(cmd.Env, e)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan []byte, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(read); s.Scan(); {
			select {
			case lines <- bytes.Clone(s.Bytes()):
			default: // nobody waits for these any more
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // killed, so that the status says nothing
		read.Close()
	})
	return func(is func(map[string]any) bool) map[string]any {
		t.Helper()
		var seen bytes.Buffer
		for late := time.After(patience); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("%s %s ended:\n%s", filepath.Base(l.binary), name, &seen)
				}
				fmt.Fprintf(&seen, "%s\n", line)
				var entry map[string]any
				if json.Unmarshal(line, &entry) == nil && is(entry) {
					return entry
				}
			case <-late:
				t.Fatalf("%s %s is not ready after %v:\n%s", filepath.Base(l.binary), name, patience, &seen)
			}
		}
	}
}
