package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"edict/extauthz/testca"
)

const (
	logRenewed    = "new certificates are in use"
	logNotRenewed = "the certificates in use are the old ones"
	logFailed     = "a connection failed"
)

// secure makes the files of a listener, and gives its setting with more fields.
func (s *served) secure(ca, clients *testca.CA, name, more string) string {
	s.t.Helper()
	s.renew(ca, name)
	s.write("tls/ca.crt", string(clients.PEM()))
	dir := filepath.Join(s.dir, "tls")
	return "{cert: " + dir + "/tls.crt, key: " + dir + "/tls.key" + strings.ReplaceAll(more, "$CA", dir+"/ca.crt") + "}"
}

// renew replaces certificate and key of the listener, one after the other.
func (s *served) renew(ca *testca.CA, name string) {
	s.t.Helper()
	cert, key := ca.Issue(s.t, testca.Spec{CommonName: name, DNS: []string{"edict"}})
	s.write("tls/tls.crt", string(cert))
	s.write("tls/tls.key", string(key))
}

// over gives the daemon as a client with a TLS configuration asks it, which is
// on a connection of its own, and whom it takes the daemon for.
func (s *served) over(config *tls.Config) (authv3.AuthorizationClient, *string) {
	s.t.Helper()
	name := new(string)
	config = config.Clone()
	config.ServerName = "edict"
	config.VerifyConnection = func(c tls.ConnectionState) error {
		*name = c.PeerCertificates[0].Subject.CommonName
		return nil
	}
	conn, err := grpc.NewClient("passthrough:///"+s.authz, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn), name
}

func TestServeOverTLS(t *testing.T) {
	ca, mesh, other := testca.New(t, "servers"), testca.New(t, "mesh"), testca.New(t, "other")
	s := newServed(t)
	setting := s.secure(ca, mesh, "one", ", clientCA: $CA, clients: [spiffe://mesh.example/envoy]")
	s.start("listen.tls.extAuthz="+setting, "listen.tls.admin="+setting, "reload.certificates=5ms")
	envoy := &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{mesh.Pair(t, testca.Spec{URIs: []string{"spiffe://mesh.example/envoy"}})}}

	client, name := s.over(envoy)
	out, err := client.Check(limited(t), aliceAsks.message(t))
	if err != nil || out.GetStatus().GetCode() != 0 || *name != "one" {
		t.Fatalf("got %v, %v, from %q", out, err, *name)
	}
	for who, config := range map[string]*tls.Config{
		"nobody":            {RootCAs: ca.Pool()},
		"another":           {RootCAs: ca.Pool(), Certificates: []tls.Certificate{mesh.Pair(t, testca.Spec{URIs: []string{"spiffe://mesh.example/other"}})}},
		"another authority": {RootCAs: ca.Pool(), Certificates: []tls.Certificate{other.Pair(t, testca.Spec{URIs: []string{"spiffe://mesh.example/envoy"}})}},
	} {
		client, _ := s.over(config)
		if _, err := client.Check(limited(t), aliceAsks.message(t)); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v", who, err)
		}
	}
	if _, err := s.client.Check(limited(t), aliceAsks.message(t)); status.Code(err) != codes.Unavailable {
		t.Errorf("in plain text: got %v", err)
	}
	s.log.await(t, logFailed, 3)

	// The pages are behind the same.
	transport := &http.Transport{TLSClientConfig: envoy.Clone(), ForceAttemptHTTP2: true}
	transport.TLSClientConfig.ServerName = "edict"
	defer transport.CloseIdleConnections()
	page, err := (&http.Client{Transport: transport, Timeout: deadline}).Get("https://" + s.admin + "/readyz")
	if err != nil || page.StatusCode != http.StatusOK || page.ProtoMajor != 2 {
		t.Fatalf("/readyz: %v, %v", page, err)
	}
	page.Body.Close()

	// A new pair, then half of one, then the rest.
	s.renew(ca, "two")
	s.log.await(t, logRenewed, 2) // one per listener
	if client, name := s.over(envoy); true {
		if _, err := client.Check(limited(t), aliceAsks.message(t)); err != nil || *name != "two" {
			t.Errorf("got %v, from %q", err, *name)
		}
	}
	cert, key := ca.Issue(t, testca.Spec{CommonName: "three", DNS: []string{"edict"}})
	s.write("tls/tls.crt", string(cert))
	if e := s.log.await(t, logNotRenewed, 1); !strings.Contains(e.text("error"), "private key does not match") && !strings.Contains(e.text("error"), "cert and key") {
		t.Errorf("got %v", e)
	}
	if client, name := s.over(envoy); true {
		if _, err := client.Check(limited(t), aliceAsks.message(t)); err != nil || *name != "two" {
			t.Errorf("with half of a pair: got %v, from %q", err, *name)
		}
	}
	s.write("tls/tls.key", string(key))
	s.log.await(t, logRenewed, 4)
	if out, err := client.Check(limited(t), aliceAsks.message(t)); err != nil || out.GetStatus().GetCode() != 0 {
		t.Errorf("on the first connection: got %v, %v", out, err)
	}
	if n := len(s.log.entries("")); n != strings.Count(s.log.String(), "\n") {
		t.Errorf("not every line of the log is JSON:\n%s", s.log)
	}
}

func TestTLSThatDoesNotStart(t *testing.T) {
	s := newServed(t)
	ca := testca.New(t, "servers")
	s.secure(ca, ca, "one", "")
	dir := filepath.Join(s.dir, "tls")
	other, _ := ca.Issue(t, testca.Spec{CommonName: "other"})
	s.write("tls/other.crt", string(other))
	for setting, want := range map[string]string{
		"{cert: " + dir + "/none.crt, key: " + dir + "/tls.key}":                               "edict: listen.tls.extAuthz: cert: open " + dir + "/none.crt: no such file",
		"{cert: " + dir + "/other.crt, key: " + dir + "/tls.key}":                              "edict: listen.tls.extAuthz: cert and key: ",
		"{cert: " + dir + "/tls.crt, key: " + dir + "/tls.key, clientCA: " + dir + "/tls.key}": "edict: listen.tls.extAuthz: clientCA: ",
	} {
		if status, _, stderr := command(nil, s.args("listen.tls.extAuthz="+setting)...); status != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: got %d\n%s\nwant %s", setting, status, stderr, want)
		}
	}
}

// The HTTP variant as a whole; extauthz has its rules.
func TestServeOverHTTP(t *testing.T) {
	ca := testca.New(t, "servers")
	s := newServed(t)
	s.write("routes/things.yaml", strings.ReplaceAll(routes("a"), "match: {methods: [GET], path: /thing}", "anonymous: true\n      match: {path: /thing}"))
	s.write("policies/thing.yaml", strings.Replace(policy("a"), "roles: [user]", `roles: ["*"]`, 1))
	s.start("listen.extAuthzHTTP=127.0.0.1:0", "extAuthzHTTP.pathPrefix=/v1/ext", "listen.tls.extAuthzHTTP="+s.secure(ca, ca, "one", ""))
	at := s.log.await(t, logListening, 1).text("extAuthzHTTP")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "edict"}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{"/v1/ext/thing": 200, "/v1/ext/other": 401, "/v1/ext/nowhere": 403, "/thing": 400, "/v1/ext//thing": 400} {
		request, err := http.NewRequestWithContext(limited(t), "GET", "https://"+at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != want || response.ProtoMajor != 1 {
			t.Errorf("%s: got %s %s, want HTTP/1.1 and %d", path, response.Proto, response.Status, want)
		}
	}
	s.stop()
	if got := s.ended(); got != exitOK {
		t.Errorf("exit status %d", got)
	}
}
