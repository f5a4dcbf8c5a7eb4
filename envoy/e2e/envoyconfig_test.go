package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// envoyConfig gives what `edict envoy-config` prints for the demo's policies,
// and fails the test if it warns of anything but plain text.
func envoyConfig(t *testing.T, args ...string) string {
	t.Helper()
	needTools(t)
	var out, warnings bytes.Buffer
	c := exec.Command(tools.edict, append([]string{"envoy-config", "--config", "envoy/edict.yaml"}, args...)...)
	c.Dir, c.Stdout, c.Stderr = tools.root, &out, &warnings
	c.Env = []string{"PATH=" + os.Getenv("PATH")} // our own variables are none of its settings
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, warnings.String())
	}
	if w := warnings.String(); w != "" && !(strings.Contains(w, "[envoy-plaintext]") && strings.Count(w, "warning:") == 1) {
		t.Errorf("edict warns of what it prints:\n%s", w)
	}
	return out.String()
}

// validate has Envoy read a bootstrap.
func validate(t *testing.T, name, content string) {
	t.Helper()
	r := newRig(t)
	r.write(t, name, r.withFiles(t, content))
	if out, err := exec.Command(tools.envoy, "--mode", "validate", "--log-level", "warning", "-c", r.path(name)).CombinedOutput(); err != nil {
		t.Errorf("Envoy does not take it: %v\n%s\n%s", err, out, content)
	}
}

// withFiles makes the files of certificates and keys that a bootstrap names, and
// has it name them. They need not be on this machine, and Envoy reads them even
// if it only validates.
func (r *rig) withFiles(t *testing.T, content string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"edge.example.com"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for _, name := range []string{"tls.crt", "clients-ca.crt", "edict-ca.crt", "ca-certificates.crt"} {
		r.write(t, "tls/"+name, certificate)
	}
	r.write(t, "tls/tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return strings.NewReplacer("/etc/envoy/tls/", r.path("tls")+"/", "/etc/ssl/certs/", r.path("tls")+"/").Replace(content)
}

// Envoy takes every bootstrap that `edict envoy-config` prints.
func TestPrintedConfigIsTaken(t *testing.T) {
	const (
		headers = "identity.sources=[{headers: {id: x-user, roles: x-groups}}]"
		peers   = "identity.sources=[{mtls: {trustDomains: [example.org], defaultRoles: [user]}}, {xfcc: {trustDomains: [example.org], defaultRoles: [user], from: {addresses: [10.0.0.0/8]}}}]"
		secured = "listen.tls.extAuthz={cert: tls.crt, key: tls.key, clientCA: ca.crt, minVersion: \"1.3\"}"
	)
	for name, args := range map[string][]string{
		"tcp":          {},
		"JSON":         {"--format", "json"},
		"socket":       {"--set", "listen.extAuthz=unix:/run/edict/authz.sock"},
		"remote":       {"--address", "edict.internal:9001"},
		"IPv6":         {"--address", "[::1]:9001"},
		"several":      {"--set", "identity.sources=[{jwtMetadata: {}}, {name: partner, jwtMetadata: {key: partner}}, {name: mesh, headers: {id: x-user}}]"},
		"other":        {"--set", "identity.sources=[{jwtMetadata: {namespace: com.example.tokens}}]"},
		"no upstream":  {"--set", "upstream.principalHeader=x-user", "--set", "upstream.rolesHeader=", "--set", "body.limit=100000"},
		"peers":        {"--set", peers},
		"TLS":          {"--set", secured},
		"spellings":    {"--set", "accept=[encoded-slash, empty-segments]"},
		"HTTP, own":    {"--for", "http", "--set", headers, "--set", "listen.extAuthzHTTP=127.0.0.1:9003", "--set", "extAuthzHTTP={pathPrefix: /v1/ext, rawHeaders: true, decisionHeaders: true}"},
		"network":      {"--for", "network"},
		"HTTP":         {"--for", "http", "--address", "127.0.0.1:9003", "--set", headers},
		"HTTP, remote": {"--for", "http", "--address", "edict.internal:9003", "--set", headers},
		"HTTP, socket": {"--for", "http", "--address", "unix:/run/edict/http.sock", "--set", headers},
	} {
		t.Run(name, func(t *testing.T) {
			file := "printed.yaml"
			if name == "JSON" {
				file = "printed.json"
			}
			validate(t, file, envoyConfig(t, args...))
		})
	}
}

// What is printed works: Edict is asked, and gets what it reads, and jwt_authn
// gets the token that goes no further than Edict.
func TestPrintedConfigServes(t *testing.T) {
	r := newRig(t)
	printed := apply(t, "what edict envoy-config prints", envoyConfig(t, "--set", "respond.onAllow={headers: {cookie: none}, removeHeaders: [authorization]}"), patient...)
	printed = apply(t, "what edict envoy-config prints", printed, []edit{
		{"issuer: https://idp.example.com/", "issuer: https://idp.edict.example/"},
		{"audiences: [example]", "audiences: [expenses]"},
		{`                          remote_jwks:
                            http_uri: {uri: "https://idp.example.com/keys", cluster: idp, timeout: 2s}
                            cache_duration: 600s
                            async_fetch: {}
`, "                          local_jwks: {filename: .demo/jwks.json}\n"},
	}...)
	own := readFile(t, r.path("envoy/envoy.yaml"))
	r.write(t, "envoy/envoy.yaml", apply(t, "what edict envoy-config prints", r.withFiles(t, printed), r.ports()...))
	if own == printed {
		t.Fatal("the demo's bootstrap is the one that is printed; this test shows nothing")
	}
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	for _, tt := range []struct {
		name   string
		q      request
		status int
	}{
		{"the owner reads", request{as: "alice", path: "/expenses/emea/alice/1"}, 200},
		{"another's", request{as: "alice", path: "/expenses/apac/dave/7"}, 403},
		{"nobody", request{path: "/expenses/emea/alice/1"}, 401},
		{"a forged identity", request{path: "/expenses/emea/alice/1", header: map[string][]string{"X-Edict-Principal": {"alice"}}}, 401},
		{"a body", request{as: "alice", method: "POST", path: "/expenses", body: `{"region":"emea","department":"engineering","amount":64.2}`}, 201},
		{"a body beyond the limit", request{as: "alice", method: "POST", path: "/expenses", body: `{"x":"` + strings.Repeat("x", 9000) + `"}`}, 413},
		{"an escaped slash", request{as: "alice", path: "/expenses%2femea/alice/1"}, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := r.send(t, tt.q); got.status != tt.status {
				t.Errorf("answered %d, want %d: %s", got.status, tt.status, got.body)
			}
		})
	}
}

// What a running Envoy says of its configuration is judged as the file is.
func TestLintOfConfigDump(t *testing.T) {
	r := newRig(t)
	r.startEnvoy(t)
	r.waitEnvoy(t)
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/config_dump?include_eds", r.adminPort))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	dump, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	lint := func(dump string) string {
		c := exec.Command(tools.edict, "envoy-config", "lint", "--config", "envoy/edict.yaml", "-")
		c.Dir, c.Env, c.Stdin = tools.root, []string{"PATH=" + os.Getenv("PATH")}, strings.NewReader(dump)
		out, err := c.CombinedOutput()
		if e := new(exec.ExitError); err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		return string(out)
	}
	if got := lint(string(dump)); got != "nothing to mend\n" {
		t.Errorf("of the demo's Envoy edict says:\n%s", got)
	}
	broken := apply(t, "the config dump", string(dump), edit{`"normalize_path": true`, `"normalize_path": false`})
	if got := lint(broken); !strings.Contains(got, "[envoy-normalize-path]") {
		t.Errorf("of an Envoy that does not normalise paths edict says:\n%s", got)
	}
}

// The bootstraps that the linter's tests call good are ones that Envoy takes.
func TestGoodConfigIsTaken(t *testing.T) {
	needTools(t)
	files, err := filepath.Glob(filepath.Join(tools.root, "cmd/edict/internal/envoylint/testdata/good/bootstrap-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			validate(t, "good.yaml", readFile(t, file))
		})
	}
}
