package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"edict/extauthz/testca"
)

// envoyID is the SPIFFE id that Envoy has in these tests.
const envoyID = "spiffe://mesh.example/ns/edge/sa/envoy"

// newTLSRig prepares a rig in which Envoy asks Edict over mutual TLS, on
// connections that live for a few questions, so that there are always new ones.
// The authority is of both sides.
func newTLSRig(t *testing.T, ca *testca.CA, envoy testca.Spec, params string, edits ...edit) *rig {
	t.Helper()
	r := newRig(t, concat(patient, edits, []edit{
		{"          explicit_http_config:\n            http2_protocol_options:\n", "          common_http_protocol_options: {max_requests_per_connection: 7}\n" +
			"          explicit_http_config:\n            http2_protocol_options:\n"},
		{"      # Edict reports SERVING while it has a policy to decide by.\n", `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: edict
          common_tls_context:
            ` + params + `
            tls_certificates: [{certificate_chain: {filename: tls/envoy.crt}, private_key: {filename: tls/envoy.key}}]
            validation_context:
              trusted_ca: {filename: tls/ca.crt}
              match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: edict}}]
`},
	})...)
	cert, key := ca.Issue(t, envoy)
	r.write(t, "tls/envoy.crt", string(cert))
	r.write(t, "tls/envoy.key", string(key))
	r.write(t, "tls/ca.crt", string(ca.PEM()))
	r.rotate(t, ca, "first")
	return r
}

// rotate replaces the certificate and the key of Edict at once, as Kubernetes
// replaces a secret: a link leads to the folder that has both.
func (r *rig) rotate(t *testing.T, ca *testca.CA, name string) {
	t.Helper()
	cert, key := ca.Issue(t, testca.Spec{CommonName: name, DNS: []string{"edict"}})
	r.swapSecret(t, name, cert, key)
}

func (r *rig) swapSecret(t *testing.T, name string, cert, key []byte) {
	t.Helper()
	r.write(t, "secret/.."+name+"/tls.crt", string(cert))
	r.write(t, "secret/.."+name+"/tls.key", string(key))
	for link, to := range map[string]string{"secret/tls.crt": "..data/tls.crt", "secret/tls.key": "..data/tls.key"} {
		if _, err := os.Lstat(r.path(link)); err == nil {
			continue
		}
		if err := os.Symlink(to, r.path(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(".."+name, r.path("secret/..new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.path("secret/..new"), r.path("secret/..data")); err != nil {
		t.Fatal(err)
	}
}

// tlsSetting gives the argument that makes Edict demand a certificate.
func (r *rig) tlsSetting(more string) string {
	return fmt.Sprintf("listen.tls.extAuthz={cert: %s, key: %s, clientCA: %s%s}", r.path("secret/tls.crt"), r.path("secret/tls.key"), r.path("tls/ca.crt"), more)
}

// shown gives the name on the certificate that Edict shows to a new client.
func (r *rig) shown(ca *testca.CA, client tls.Certificate) (name string, err error) {
	conn, err := tls.Dial("tcp", r.authzAddress, &tls.Config{
		RootCAs: ca.Pool(), ServerName: "edict", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{client},
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// TestMutualTLS lets Envoy ask over mutual TLS while Edict's certificate is
// replaced again and again, once by one that is broken: no request fails.
func TestMutualTLS(t *testing.T) {
	needTools(t)
	ca := testca.New(t, "mesh")
	r := newTLSRig(t, ca, testca.Spec{URIs: []string{envoyID}}, "")
	r.startBackend(t)
	r.startEdict(t, "--set", r.tlsSetting(", clients: ["+envoyID+"]"), "--set", "reload.certificates=20ms")
	r.startEnvoy(t)
	r.waitServing(t)
	for _, tt := range []struct {
		q      request
		status int
		rule   string
	}{
		{request{as: "alice", path: "/expenses/emea/alice/1"}, 200, "owner-reads-own"},
		{request{as: "alice", path: "/expenses/apac/dave/7"}, 403, ""},
		{request{path: "/whoami"}, 401, ""},
	} {
		got := r.send(t, tt.q)
		if got.status != tt.status {
			t.Errorf("%s: answered %d, want %d", tt.q.path, got.status, tt.status)
		}
		if l := r.logged(t, got.header.Get("X-Request-Id")); l.Edict.Rule != tt.rule || l.Edict.Revision == "" {
			t.Errorf("%s: the access log says %+v, want the rule %q", tt.q.path, l.Edict, tt.rule)
		}
	}

	me := ca.Pair(t, testca.Spec{URIs: []string{envoyID}})
	var sent, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := r.try(request{as: "alice", path: "/expenses/emea/alice/1"})
				sent.Add(1)
				if err != nil || got.status != http.StatusOK {
					failed.Add(1)
					t.Errorf("a request failed: %d, %v", got.status, err)
					return
				}
			}
		})
	}
	// Each certificate is in use for so many requests that Envoy has connected
	// with it again and again.
	const perCertificate = 100
	served := func(n int64) {
		t.Helper()
		from := sent.Load()
		eventually(t, fmt.Sprintf("%d more requests", n), func() error {
			if failed.Load() == 0 && sent.Load() < from+n {
				return fmt.Errorf("%d so far", sent.Load()-from)
			}
			return nil
		})
	}
	shows := func(want string) {
		t.Helper()
		eventually(t, "the certificate "+want, func() error {
			got, err := r.shown(ca, me)
			if err == nil && got != want {
				err = fmt.Errorf("it shows %q", got)
			}
			return err
		})
	}
	served(perCertificate)
	for _, name := range []string{"second", "third"} {
		r.rotate(t, ca, name)
		shows(name)
		served(perCertificate)
	}
	cert, _ := ca.Issue(t, testca.Spec{CommonName: "broken", DNS: []string{"edict"}})
	_, key := ca.Issue(t, testca.Spec{CommonName: "other"})
	r.swapSecret(t, "broken", cert, key)
	eventually(t, "Edict that says the pair is broken", func() error {
		if !strings.Contains(r.edict.log(), "the certificates in use are the old ones") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	shows("third")
	served(perCertificate)
	r.rotate(t, ca, "fourth")
	shows("fourth")
	served(perCertificate)
	close(stop)
	load.Wait()
	t.Logf("%d requests, %d failed", sent.Load(), failed.Load())
	if n := strings.Count(r.edict.log(), "new certificates are in use"); n != 3 {
		t.Errorf("the log tells of %d new certificates, want 3:\n%s", n, r.edict.log())
	}

	t.Run("who is not Envoy is not answered", func(t *testing.T) {
		for name, config := range map[string]*tls.Config{
			"no certificate": {},
			"another id":     {Certificates: []tls.Certificate{ca.Pair(t, testca.Spec{URIs: []string{"spiffe://mesh.example/ns/edge/sa/other"}})}},
			"another mesh":   {Certificates: []tls.Certificate{testca.New(t, "mesh").Pair(t, testca.Spec{URIs: []string{envoyID}})}},
		} {
			config.RootCAs, config.ServerName = ca.Pool(), "edict"
			conn, err := grpc.NewClient(r.authzAddress, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Invoke(soon(t), "/envoy.service.auth.v3.Authorization/Check", &rawMessage{}, &rawMessage{}, grpc.ForceCodec(rawMessages{})); err == nil {
				t.Errorf("%s: answered", name)
			}
		}
	})
}

// rawMessages is a codec of messages that nobody looks into.
type (
	rawMessage  []byte
	rawMessages struct{}
)

func (rawMessages) Marshal(v any) ([]byte, error)   { return *v.(*rawMessage), nil }
func (rawMessages) Unmarshal(b []byte, v any) error { *v.(*rawMessage) = b; return nil }
func (rawMessages) Name() string                    { return "proto" }

// TestWhichEnvoyMayAsk has certificates that Edict does not admit: every
// request is refused.
func TestWhichEnvoyMayAsk(t *testing.T) {
	needTools(t)
	ca := testca.New(t, "mesh")
	for _, tt := range []struct {
		name    string
		envoy   testca.Spec
		params  string
		setting string
		status  int
	}{
		{"another id", testca.Spec{URIs: []string{"spiffe://mesh.example/ns/edge/sa/other"}}, "", ", clients: [" + envoyID + "]", 503},
		{"its trust domain", testca.Spec{URIs: []string{envoyID}}, "", ", clients: [spiffe://mesh.example]", 200},
		{"its DNS name", testca.Spec{DNS: []string{"envoy.mesh.example"}}, "", ", clients: [envoy.mesh.example]", 200},
		{"TLS 1.3 asked of an Envoy as it is", testca.Spec{URIs: []string{envoyID}}, "", `, minVersion: "1.3"`, 503},
		{"TLS 1.3 of an Envoy that is told to", testca.Spec{URIs: []string{envoyID}}, "tls_params: {tls_maximum_protocol_version: TLSv1_3}", `, minVersion: "1.3"`, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTLSRig(t, ca, tt.envoy, tt.params)
			r.startBackend(t)
			r.startEdict(t, "--set", r.tlsSetting(tt.setting))
			r.startEnvoy(t)
			r.waitEnvoy(t)
			r.waitReadiness(t, http.StatusOK)
			eventually(t, fmt.Sprintf("answers %d", tt.status), func() error { return r.status(r.port, "/healthz", tt.status) })
			if tt.status != http.StatusOK {
				eventually(t, "Edict that tells of it", func() error {
					if !strings.Contains(r.edict.log(), "TLS handshake") {
						return fmt.Errorf("the log is %s", r.edict.log())
					}
					return nil
				})
			}
		})
	}
}

// TestUnixSocketOfSomeUsers lets a process ask by the user that it runs as.
func TestUnixSocketOfSomeUsers(t *testing.T) {
	needTools(t)
	for _, tt := range []struct {
		name   string
		uid    int
		status int
	}{{"Envoy's user", os.Getuid(), 200}, {"another user", os.Getuid() + 1, 503}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, patient...)
			socket := filepath.Join(r.dir, "authz.sock")
			r.authzAddress = "unix:" + socket
			r.edit(t, "envoy/envoy.yaml", edit{
				fmt.Sprintf("{socket_address: {address: 127.0.0.1, port_value: %d}}", r.authz),
				fmt.Sprintf("{pipe: {path: %q}}", socket),
			})
			r.startBackend(t)
			r.startEdict(t, "--set", `listen.socket={mode: "0600", uids: [`+fmt.Sprint(tt.uid)+`]}`)
			r.startEnvoy(t)
			r.waitEnvoy(t)
			r.waitReadiness(t, http.StatusOK)
			eventually(t, fmt.Sprintf("answers %d", tt.status), func() error { return r.status(r.port, "/healthz", tt.status) })
			if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket is %v, %v", info, err)
			}
			if refused := strings.Contains(r.edict.log(), "may not use the socket"); refused != (tt.status != http.StatusOK) {
				t.Errorf("the log tells of a refusal: %v\n%s", refused, r.edict.log())
			}
		})
	}
}
