package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edict/extauthz/testca"
)

// A folder holds the files of a listener, as Kubernetes lays out a secret: each
// name leads through ..data to a folder that is replaced as a whole.
type secret struct {
	t   *testing.T
	dir string
	n   int
}

func newSecret(t *testing.T) *secret {
	t.Helper()
	s := &secret{t: t, dir: t.TempDir()}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// swap replaces all files at once.
func (s *secret) swap(files map[string][]byte) {
	s.t.Helper()
	s.n++
	data := fmt.Sprintf("..%d", s.n)
	if err := os.Mkdir(filepath.Join(s.dir, data), 0o755); err != nil {
		s.t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, data, name), content, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	link := filepath.Join(s.dir, "..data")
	if err := os.Symlink(data, link+".new"); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		s.t.Fatal(err)
	}
}

func (s *secret) options(mutual bool, clients ...string) TLS {
	s.t.Helper()
	o := TLS{Cert: filepath.Join(s.dir, "tls.crt"), Key: filepath.Join(s.dir, "tls.key"), MinVersion: tls.VersionTLS12}
	if mutual {
		o.ClientCA = filepath.Join(s.dir, "ca.crt")
	}
	for _, text := range clients {
		c, err := ParseClient(text)
		if err != nil {
			s.t.Fatal(err)
		}
		o.Clients = append(o.Clients, c)
	}
	return o
}

func issued(t *testing.T, ca, clients *testca.CA, name string) map[string][]byte {
	t.Helper()
	cert, key := ca.Issue(t, testca.Spec{CommonName: name, DNS: []string{"edict"}})
	return map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": clients.PEM()}
}

// handshake lets a client of a configuration connect, and gives the name on the
// server's certificate. An error of either side counts: a TLS 1.3 client is
// done before the server has judged it.
func handshake(t *testing.T, server, client *tls.Config) (name string, err error) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(there, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("hi"))
		}
		there.Close()
		done <- err
	}()
	conn := tls.Client(here, client)
	_, err = io.ReadFull(conn, make([]byte, 2))
	here.Close()
	if e := <-done; e != nil {
		err = e
	}
	if err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestClientsThatAreAdmitted(t *testing.T) {
	ca, mesh, other := testca.New(t, "servers"), testca.New(t, "mesh"), testca.New(t, "other")
	envoy := testca.Spec{CommonName: "e", URIs: []string{"spiffe://mesh.example/ns/edge/sa/envoy"}, DNS: []string{"envoy.mesh.example", "*.edge.example"}}
	pair := func(ca *testca.CA, s testca.Spec) *tls.Certificate { p := ca.Pair(t, s); return &p }
	mine := pair(mesh, envoy)
	for _, tt := range []struct {
		name    string
		clients []string
		cert    *tls.Certificate
		in      bool
	}{
		{"any of the authority", nil, mine, true},
		{"none", nil, nil, false},
		{"another authority's", nil, pair(other, envoy), false},
		{"expired", nil, pair(mesh, testca.Spec{URIs: envoy.URIs, NotAfter: time.Now().Add(-time.Minute)}), false},
		{"id", []string{"spiffe://mesh.example/ns/edge/sa/envoy"}, mine, true},
		{"another id", []string{"spiffe://mesh.example/ns/edge/sa/envoy2"}, mine, false},
		{"beginning of the id", []string{"spiffe://mesh.example/ns/edge"}, mine, false},
		{"another case", []string{"spiffe://mesh.example/ns/edge/sa/Envoy"}, mine, false},
		{"trust domain", []string{"spiffe://mesh.example"}, mine, true},
		{"another trust domain", []string{"spiffe://mesh.example.org", "spiffe://example"}, mine, false},
		{"one of several", []string{"spiffe://a.example", "nobody.example", "spiffe://mesh.example"}, mine, true},
		{"DNS name", []string{"envoy.mesh.example"}, mine, true},
		{"DNS name in capitals", []string{"envoy.mesh.example"}, pair(mesh, testca.Spec{DNS: []string{"Envoy.Mesh.Example"}}), true},
		{"another DNS name", []string{"mesh.example"}, mine, false},
		{"a wildcard of the certificate is no name", []string{"a.edge.example"}, mine, false},
		{"common name is no DNS name", []string{"envoy.mesh.example"}, pair(mesh, testca.Spec{CommonName: "envoy.mesh.example"}), false},
		{"two ids are none", []string{"spiffe://mesh.example"}, pair(mesh, testca.Spec{URIs: append(envoy.URIs, "spiffe://mesh.example/b")}), false},
		{"a URL is no id", []string{"spiffe://mesh.example"}, pair(mesh, testca.Spec{URIs: []string{"https://mesh.example/a"}}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSecret(t)
			s.swap(issued(t, ca, mesh, "one"))
			c, err := NewCertificates(s.options(true, tt.clients...))
			if err != nil {
				t.Fatal(err)
			}
			client := &tls.Config{RootCAs: ca.Pool(), ServerName: "edict"}
			if tt.cert != nil {
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
			}
			if _, err := handshake(t, c.Config("h2"), client); (err == nil) != tt.in {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParseClient(t *testing.T) {
	for _, text := range []string{"", "*", "*.example.com", "Envoy.example", "spiffe://", "spiffe://A/b", "spiffe://a/b/", "spiffe://a//b", "https://a/b", "a b", "a..b", "-a", "a:1", strings.Repeat("a.", 130) + "a"} {
		if c, err := ParseClient(text); err == nil {
			t.Errorf("%q: got %+v", text, c)
		}
	}
	if err := admit([]Client{{}}, new(x509.Certificate)); err == nil {
		t.Error("the zero Client is somebody")
	}
}

// What is told of, with a ticker that is quick.
func watch(t *testing.T, c *Certificates) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told, ended := make(chan error, 100), make(chan struct{})
	go func() {
		defer close(ended)
		c.Watch(ctx, time.Millisecond, func(err error) { told <- err })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if len(told) > 0 {
			t.Errorf("told once more: %v", <-told)
		}
	})
	return told
}

func next(t *testing.T, told <-chan error, want string) {
	t.Helper()
	select {
	case err := <-told:
		if fmt.Sprint(err) != want && (want == "<nil>" || !strings.Contains(fmt.Sprint(err), want)) {
			t.Errorf("told %v, want %s", err, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("nobody tells: %s", want)
	}
}

// TestCertificatesAreRenewed swaps good and bad secrets under handshakes that
// never stop and never fail.
func TestCertificatesAreRenewed(t *testing.T) {
	ca, mesh, mesh2 := testca.New(t, "servers"), testca.New(t, "mesh"), testca.New(t, "mesh2")
	s := newSecret(t)
	one, two := issued(t, ca, mesh, "one"), issued(t, ca, mesh, "two")
	s.swap(one)
	c, err := NewCertificates(s.options(true))
	if err != nil {
		t.Fatal(err)
	}
	server := c.Config("h2", "http/1.1")
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "edict", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{mesh.Pair(t, testca.Spec{CommonName: "c"})}}
	shows := func(want string) {
		t.Helper()
		if got, err := handshake(t, server, client); err != nil || got != want {
			t.Errorf("got the certificate of %q, %v; want %s", got, err, want)
		}
	}
	shows("one")
	told := watch(t, c)

	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := handshake(t, server, client); err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
			}
		})
	}
	s.swap(two)
	next(t, told, "<nil>")
	shows("two")
	expiredCert, expiredKey := ca.Issue(t, testca.Spec{CommonName: "old", NotAfter: time.Now().Add(-time.Minute)})
	garbage := append(bytes.Clone(mesh.PEM()), []byte("-----BEGIN CERTIFICATE-----\nAA")...)
	for _, bad := range []struct {
		want  string
		files map[string][]byte
	}{
		{"cert and key: ", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": two["tls.key"], "ca.crt": one["ca.crt"]}},
		{"cert and key: ", map[string][]byte{"tls.crt": nil, "tls.key": two["tls.key"], "ca.crt": one["ca.crt"]}},
		{"expired at", map[string][]byte{"tls.crt": expiredCert, "tls.key": expiredKey, "ca.crt": one["ca.crt"]}},
		{"there is no certificate in it", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": one["tls.key"], "ca.crt": nil}},
		{"certificate 2 is cut off", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": one["tls.key"], "ca.crt": garbage}},
		{"block 1 is a PRIVATE KEY", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": one["tls.key"], "ca.crt": one["tls.key"]}},
		{"clientCA: open ", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": one["tls.key"]}},
	} {
		s.swap(bad.files)
		next(t, told, bad.want)
		shows("two")
	}
	s.swap(one)
	next(t, told, "<nil>")
	shows("one")
	close(stop)
	load.Wait()

	// Other authorities: who was admitted is no longer.
	s.swap(map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": one["tls.key"], "ca.crt": mesh2.PEM()})
	next(t, told, "<nil>")
	if _, err := handshake(t, server, client); err == nil {
		t.Error("a client of an authority that is gone is admitted")
	}
}

func TestTLSVersionsAndProtocols(t *testing.T) {
	ca := testca.New(t, "servers")
	s := newSecret(t)
	s.swap(issued(t, ca, ca, "one"))
	for _, tt := range []struct {
		min, most uint16
		in        bool
	}{{tls.VersionTLS12, tls.VersionTLS12, true}, {tls.VersionTLS12, tls.VersionTLS11, false}, {tls.VersionTLS13, tls.VersionTLS12, false}, {tls.VersionTLS13, tls.VersionTLS13, true}} {
		o := s.options(false)
		o.MinVersion = tt.min
		c, err := NewCertificates(o)
		if err != nil {
			t.Fatal(err)
		}
		client := &tls.Config{RootCAs: ca.Pool(), ServerName: "edict", MinVersion: tls.VersionTLS10, MaxVersion: tt.most}
		if _, err := handshake(t, c.Config("h2"), client); (err == nil) != tt.in {
			t.Errorf("at least %x, a client of %x: %v", tt.min, tt.most, err)
		}
		client.MaxVersion, client.NextProtos = 0, []string{"other"}
		if _, err := handshake(t, c.Config("h2"), client); err == nil {
			t.Error("a client that can't speak the protocol is admitted")
		}
	}
}
