package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"edict/extauthz/testca"
)

// A tcpRig is an Envoy that forwards connections, Edict, and a service that
// says back what it hears.
type tcpRig struct {
	*rig
	ca            *testca.CA
	secure, plain int // ports of Envoy
	greeting      string
}

// startTCP starts all of it. The service greets whoever connects.
func startTCP(t *testing.T, failOpen bool, greeting string) *tcpRig {
	t.Helper()
	r := &tcpRig{rig: newRig(t), ca: testca.New(t, "mesh"), secure: freePort(t), plain: freePort(t), greeting: greeting}
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	cert, key := r.ca.Issue(t, testca.Spec{DNS: []string{"orders.db.example", "metrics.db.example"}})
	r.write(t, "tls/server.crt", string(cert))
	r.write(t, "tls/server.key", string(key))
	r.write(t, "tls/ca.crt", string(r.ca.PEM()))
	text := apply(t, "tcp.yaml", readFile(t, "testdata/tcp.yaml"), edit{"ADMIN", strconv.Itoa(r.adminPort)}, edit{"SECURE", strconv.Itoa(r.secure)},
		edit{"PLAIN", strconv.Itoa(r.plain)}, edit{"EDICT", strconv.Itoa(r.authz)}, edit{"ECHO", strconv.Itoa(echo.Addr().(*net.TCPAddr).Port)},
		edit{"FAIL_OPEN", strconv.FormatBool(failOpen)})
	r.write(t, "envoy/envoy.yaml", text)
	if err := os.RemoveAll(r.path("envoy/routes")); err != nil {
		t.Fatal(err)
	}
	r.write(t, "envoy/routes/data.yaml", fmt.Sprintf(`
apiVersion: edict.dev/v1
routeMap:
  name: data
  connections:
    - name: orders
      match: {sni: [orders.db.example]}
      resource: {kind: database, id: orders}
      action: connect
    - name: open
      match: {destinationPorts: [%d]}
      anonymous: true
      resource: {kind: database, id: {expr: "request.source.address == '127.0.0.1' ? 'open' : 'closed'"}}
      action: connect
`, r.plain))
	r.write(t, "policies/database.yaml", `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: database
  version: default
  rules:
    - name: shops-connect
      actions: [connect]
      effect: EFFECT_ALLOW
      roles: [workload]
      condition: {match: {expr: 'R.id == "orders" && P.attr.namespace == "shop"'}}
    - name: anybody-from-here
      actions: [connect]
      effect: EFFECT_ALLOW
      roles: [anonymous]
      condition: {match: {expr: 'R.id == "open"'}}
`)
	r.startEdict(t, "--set", "identity.sources=[{mtls: {trustDomains: [mesh.example], defaultRoles: [workload]}}]")
	r.waitReadiness(t, http.StatusOK)
	r.startEnvoy(t)
	r.waitEnvoy(t)
	return r
}

// says opens a connection, says something and gives what comes back until it is
// as much, the connection ends, or what was asked for is there.
func says(t *testing.T, dial func() (net.Conn, error), words string, want int) string {
	t.Helper()
	conn, err := dial()
	if err != nil {
		return "" // a TLS 1.2 client learns within its handshake
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, words); err != nil {
		return ""
	}
	b := make([]byte, want)
	n, err := io.ReadFull(conn, b)
	if isTimeout(err) {
		t.Fatalf("Envoy neither answered nor closed the connection within %v", patience)
	}
	return string(b[:n])
}

func (r *tcpRig) overTLS(t *testing.T, sni, id string) func() (net.Conn, error) {
	t.Helper()
	pair := r.ca.Pair(t, testca.Spec{URIs: []string{id}})
	return func() (net.Conn, error) {
		return tls.Dial("tcp", "127.0.0.1:"+strconv.Itoa(r.secure), &tls.Config{
			RootCAs: r.ca.Pool(), ServerName: sni, Certificates: []tls.Certificate{pair},
		})
	}
}

func (r *tcpRig) overTCP(from string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		return dialer.Dial("tcp", "127.0.0.1:"+strconv.Itoa(r.plain))
	}
}

// A tcpLine is a line of the access log.
type tcpLine struct {
	SNI   string `json:"sni"`
	Edict struct {
		Effect    string `json:"effect"`
		Reason    string `json:"reason"`
		Route     string `json:"route"`
		Principal string `json:"principal"`
		Rule      string `json:"rule"`
	} `json:"edict"`
}

func (r *tcpRig) lines(t *testing.T) (out []tcpLine) {
	t.Helper()
	for line := range strings.Lines(readFile(t, r.envoy.out)) {
		var l tcpLine
		if strings.HasSuffix(line, "\n") {
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			out = append(out, l)
		}
	}
	return out
}

// TestTCPConnections lets Envoy's network filter ask: by server name,
// certificate, port and address.
func TestTCPConnections(t *testing.T) {
	needTools(t)
	const shop = "spiffe://mesh.example/ns/shop/sa/web"
	for _, failOpen := range []bool{false, true} {
		t.Run(fmt.Sprintf("failure_mode_allow %v", failOpen), func(t *testing.T) {
			r := startTCP(t, failOpen, "")
			for _, tt := range []struct {
				name   string
				dial   func() (net.Conn, error)
				in     bool
				reason string
				who    string
			}{
				{"the workload and the name", r.overTLS(t, "orders.db.example", shop), true, "allow", shop},
				{"another workload", r.overTLS(t, "orders.db.example", "spiffe://mesh.example/ns/other/sa/web"), false, "deny", "spiffe://mesh.example/ns/other/sa/web"},
				{"another trust domain", r.overTLS(t, "orders.db.example", "spiffe://evil.example/ns/shop/sa/web"), false, "bad_identity", ""},
				{"another name", r.overTLS(t, "metrics.db.example", shop), false, "no_route", ""},
				{"in plain text, from an address", r.overTCP("127.0.0.1"), true, "allow", "anonymous"},
				{"in plain text, from another address", r.overTCP("127.0.0.2"), false, "no_identity", "anonymous"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					before := len(r.lines(t))
					want := ""
					if tt.in {
						want = "hello"
					}
					if got := says(t, tt.dial, "hello", len("hello")); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					var l tcpLine
					eventually(t, "the connection's line in the access log", func() error {
						lines := r.lines(t)
						if len(lines) <= before {
							return fmt.Errorf("there are %d", len(lines))
						}
						l = lines[before]
						return nil
					})
					if l.Edict.Reason != tt.reason || l.Edict.Principal != tt.who || (l.Edict.Effect == "allow") != tt.in {
						t.Errorf("the access log says %+v, want %s, %q", l, tt.reason, tt.who)
					}
				})
			}
			t.Run("without Edict", func(t *testing.T) {
				r.edict.kill()
				want := ""
				if failOpen {
					want = "hello" // so that the denials above were answers
				}
				if got := says(t, r.overTLS(t, "orders.db.example", shop), "hello", len("hello")); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// TestServersThatSpeakFirst confirms what the documentation warns of: the
// filter asks when the client speaks, and a server has spoken by then.
func TestServersThatSpeakFirst(t *testing.T) {
	needTools(t)
	r := startTCP(t, false, "greeting")
	conn, err := r.overTCP("127.0.0.2")()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("greeting"))
	n, err := io.ReadFull(conn, b)
	t.Logf("before the client speaks: %q, %v", b[:n], err)
	if string(b[:n]) != "greeting" {
		t.Errorf("got %q, %v: docs/protocols.md says otherwise", b[:n], err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(b); err == nil {
		t.Errorf("and then %q", b[:n])
	}
}
