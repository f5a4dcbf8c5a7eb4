package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"
)

// A lab is Envoy alone, to be looked at: between a standIn, which answers as
// the test says, and an upstream, which notes what it gets. Each of Envoy's
// listeners is a door with settings of its own.
//
//	client ──► door of Envoy ──► upstream
//	                │
//	                └──────────► standIn
type lab struct {
	*standIn
	rig      // for Envoy's process, log and admin pages
	upstream *upstream
	http     *upstream // stands for Edict where Envoy asks over HTTP
	certs    *certificates
	doors    map[string]int // ports by name
}

// A door is one of Envoy's listeners. Each member is YAML that is laid over
// what an ordinary door has: maps are merged, and all else is replaced.
type door struct {
	name     string
	listener string // the listener
	hcm      string // its HTTP connection manager
	authz    string // its ext_authz filter; "none": there is none
	before   string // a list of HTTP filters in front of ext_authz
	after    string // and of those behind it
	routes   string // the list of routes
	vhost    string // the virtual host that has them
	chain    string // the filter chain, above all its transport socket
	network  string // the list of network filters, instead of all HTTP
}

// An ordinary door: ext_authz and nothing else, on every path.
const ordinaryHCM = `
"@type": HttpConnectionManager
access_log:
- name: log
  typed_config:
    "@type": StdoutAccessLog
    log_format:
      json_format:
        id: "%REQ(X-REQUEST-ID)%"
        path: "%REQ(:PATH)%"
        code: "%RESPONSE_CODE%"
        flags: "%RESPONSE_FLAGS%"
        details: "%RESPONSE_CODE_DETAILS%"
        metadata: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%"
        shadow: "%FILTER_STATE(envoy.filters.http.ext_authz.shadow)%"
        cluster: "%UPSTREAM_CLUSTER%"
always_set_request_id_in_response: true
delayed_close_timeout: 0.01s
`

const ordinaryAuthz = `
"@type": ExtAuthz
transport_api_version: V3
grpc_service: {timeout: 10s, envoy_grpc: {cluster_name: authz}}
`

// extensions are Envoy's names of the messages that doors name in short.
var extensions = map[string]string{
	"Cors":                      "envoy.extensions.filters.http.cors.v3.",
	"CorsPolicy":                "envoy.extensions.filters.http.cors.v3.",
	"DownstreamTlsContext":      "envoy.extensions.transport_sockets.tls.v3.",
	"ExtAuthz":                  "envoy.extensions.filters.http.ext_authz.v3.",
	"ExtAuthzPerRoute":          "envoy.extensions.filters.http.ext_authz.v3.",
	"HttpConnectionManager":     "envoy.extensions.filters.network.http_connection_manager.v3.",
	"JwtAuthentication":         "envoy.extensions.filters.http.jwt_authn.v3.",
	"PerRouteConfig":            "envoy.extensions.filters.http.jwt_authn.v3.",
	"ProxyProtocol":             "envoy.extensions.filters.listener.proxy_protocol.v3.",
	"Router":                    "envoy.extensions.filters.http.router.v3.",
	"Config":                    "envoy.extensions.filters.http.set_metadata.v3.",
	"HeaderMutation":            "envoy.extensions.http.early_header_mutation.header_mutation.v3.",
	"StdoutAccessLog":           "envoy.extensions.access_loggers.stream.v3.",
	"TcpProxy":                  "envoy.extensions.filters.network.tcp_proxy.v3.",
	"HttpProtocolOptions":       "envoy.extensions.upstreams.http.v3.",
	"TlsInspector":              "envoy.extensions.filters.listener.tls_inspector.v3.",
	"google.protobuf.Timestamp": "",
	// The same filter for connections has a name of its own here.
	"NetworkExtAuthz": "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
}

func startLab(t *testing.T, doors ...door) *lab {
	t.Helper()
	return startLabWith(t, "", doors...)
}

// startLabWith starts a lab with YAML laid over Envoy's bootstrap.
func startLabWith(t *testing.T, bootstrap string, doors ...door) *lab {
	t.Helper()
	needTools(t)
	dir, err := os.MkdirTemp(tools.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{doors: map[string]int{}, certs: newCertificates(t), upstream: newUpstream(t), http: newUpstream(t)}
	l.dir, l.adminPort, l.authz = dir, freePort(t), freePort(t)
	l.issuer = newIssuer(t)
	l.standIn = serveStandIn(t, "127.0.0.1:"+strconv.Itoa(l.authz))
	var listeners []any
	for _, d := range doors {
		if l.doors[d.name] != 0 {
			t.Fatalf("two doors have the name %q", d.name)
		}
		l.doors[d.name] = freePort(t)
		listeners = append(listeners, l.listener(t, d))
	}
	cluster := func(name string, port int, more string) map[string]any {
		return over(t, yamlMap(t, fmt.Sprintf(`
name: %s
type: STATIC
connect_timeout: 5s
load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`, name, port)), more)
	}
	const http2 = `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}
`
	all := over(t, map[string]any{
		"admin": map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": l.adminPort}}},
		"static_resources": map[string]any{
			"listeners": listeners,
			"clusters": []any{
				cluster("authz", l.authz, http2),
				cluster("nobody", freePort(t), http2),
				cluster("upstream", l.upstream.port, ""),
				cluster("other", l.upstream.port, ""),
				cluster("http", l.http.port, ""),
			},
		},
	}, bootstrap)
	config, err := yaml.Marshal(l.named(t, all))
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "envoy.yaml", string(config))
	l.envoy = launch(t, "envoy", dir, nil, tools.envoy, "-c", "envoy.yaml",
		"--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20", "--log-level", "warning")
	t.Cleanup(func() {
		l.http1.CloseIdleConnections()
		if t.Failed() {
			t.Log(l.envoy.tail())
		}
	})
	l.waitEnvoy(t)
	return l
}

func (l *lab) listener(t *testing.T, d door) map[string]any {
	t.Helper()
	var filters []any
	if d.network != "" {
		filters = yamlList(t, d.network)
	} else {
		http := yamlList(t, d.before)
		if d.authz != "none" {
			http = append(http, map[string]any{"name": "envoy.filters.http.ext_authz", "typed_config": over(t, yamlMap(t, ordinaryAuthz), d.authz)})
		}
		http = append(http, yamlList(t, d.after)...)
		http = append(http, yamlMap(t, `{name: router, typed_config: {"@type": Router}}`))
		routes := d.routes
		if routes == "" {
			routes = `[{match: {prefix: /}, route: {cluster: upstream}}]`
		}
		vhost := over(t, map[string]any{"name": "all", "domains": []any{"*"}, "routes": yamlList(t, routes)}, d.vhost)
		hcm := over(t, yamlMap(t, ordinaryHCM), fmt.Sprintf("stat_prefix: %q", d.name))
		hcm["route_config"] = map[string]any{"virtual_hosts": []any{vhost}}
		hcm["http_filters"] = http
		filters = []any{map[string]any{"name": "hcm", "typed_config": over(t, hcm, d.hcm)}}
	}
	chain := over(t, map[string]any{"filters": filters}, d.chain)
	return over(t, map[string]any{
		"name":          d.name,
		"address":       map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": l.doors[d.name]}},
		"filter_chains": []any{chain},
	}, d.listener)
}

// named gives a configuration with the short names of messages and the names of
// the lab's own things filled in.
func (l *lab) named(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if text, ok := e.(string); ok && k == "@type" {
				prefix, known := extensions[text]
				if !known {
					t.Fatalf("what is %q?", text)
				}
				if prefix == "" || strings.HasSuffix(prefix, ".") {
					prefix += text
				}
				out[k] = "type.googleapis.com/" + prefix
				continue
			}
			out[k] = l.named(t, e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = l.named(t, e)
		}
		return out
	case string:
		switch v {
		case "SERVER CERT":
			return string(l.certs.server.chain)
		case "SERVER KEY":
			return string(l.certs.server.key)
		case "CLIENT CA":
			return string(l.certs.ca.chain)
		case "JWKS":
			return string(l.issuer.keySet())
		}
		return strings.ReplaceAll(v, "{dir}", l.dir)
	}
	return v
}

// secure makes a door speak TLS, ask for a certificate of the client, and check
// it.
const secure = `
transport_socket:
  name: tls
  typed_config:
    "@type": DownstreamTlsContext
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificates: [{certificate_chain: {inline_string: SERVER CERT}, private_key: {inline_string: SERVER KEY}}]
      validation_context: {trusted_ca: {inline_string: CLIENT CA}}
`

// perRoute gives the settings of a route or virtual host for ext_authz.
func perRoute(settings string) string {
	return `typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": ExtAuthzPerRoute, ` + settings + `}}`
}

// over lays YAML over a map: maps are merged, null removes, and all else is
// replaced.
func over(t *testing.T, base map[string]any, text string) map[string]any {
	t.Helper()
	merge(base, yamlMap(t, text))
	return base
}

func merge(base, more map[string]any) {
	for k, v := range more {
		a, isMap := base[k].(map[string]any)
		b, both := v.(map[string]any)
		switch {
		case isMap && both:
			merge(a, b)
		case v == nil:
			delete(base, k)
		default:
			base[k] = v
		}
	}
}

func yamlMap(t *testing.T, text string) (out map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func yamlList(t *testing.T, text string) (out []any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

// ---- Asking ----------------------------------------------------------------

// An event is all that becomes of one request to a door.
type event struct {
	answers []answer
	asked   []asked    // of the standIn
	reached []*reached // the upstream
}

// one gives the one answer, a zero one if there was none.
func (e event) one() answer {
	if len(e.answers) == 0 {
		return answer{}
	}
	return e.answers[0]
}

// only gives the one question.
func (e event) only(t *testing.T) asked {
	t.Helper()
	if len(e.asked) != 1 {
		t.Fatalf("Envoy asked %d times, want once; it answered %+v", len(e.asked), e.answers)
	}
	return e.asked[0]
}

// get sends GET with further lines to a door.
func (l *lab) get(t *testing.T, door string, lines ...string) event {
	t.Helper()
	return l.lines(t, door, "GET / HTTP/1.1", lines...)
}

// lines sends a request without a body. Host and Connection are added where
// they are absent.
func (l *lab) lines(t *testing.T, door, requestLine string, lines ...string) event {
	t.Helper()
	return l.raw(t, door, head(requestLine, lines...))
}

// head gives a request up to its body.
func head(requestLine string, lines ...string) string {
	has := func(name string) bool {
		return slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(strings.ToLower(line), name+":") })
	}
	all := []string{requestLine}
	if !has("host") {
		all = append(all, "Host: lab.example")
	}
	all = append(all, lines...)
	if !has("connection") {
		all = append(all, "Connection: close")
	}
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// raw sends bytes to a door and waits for one answer.
func (l *lab) raw(t *testing.T, door, raw string) event {
	t.Helper()
	return l.watch(func() []answer { return exchange(t, l.connectTo(t, door), []byte(raw), 1) })
}

func (l *lab) connectTo(t *testing.T, door string) net.Conn {
	t.Helper()
	return connect(t, office, l.port(t, door))
}

func (l *lab) port(t *testing.T, door string) int {
	t.Helper()
	port := l.doors[door]
	if port == 0 {
		t.Fatalf("there is no door %q", door)
	}
	return port
}

// watch gives what becomes of the requests that send sends.
func (l *lab) watch(send func() []answer) (e event) {
	before := len(l.questions())
	l.upstream.forget()
	e.answers = send()
	e.asked = l.questions()[before:]
	e.reached = l.upstream.all()
	return e
}

// overTLS opens a TLS connection to a door, with a certificate if there is one.
func (l *lab) overTLS(t *testing.T, door, serverName string, client *certificate, protocols ...string) (net.Conn, error) {
	t.Helper()
	config := &tls.Config{RootCAs: l.certs.pool, ServerName: serverName, NextProtos: protocols}
	if client != nil {
		pair, err := tls.X509KeyPair(client.chain, client.key)
		if err != nil {
			t.Fatal(err)
		}
		// Whatever CAs the server names, this is the one to show.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	conn := tls.Client(l.connectTo(t, door), config)
	return conn, conn.Handshake()
}

// A logLine is what Envoy's access log says of a request to a door.
type logLine struct {
	ID       string          `json:"id"`
	Path     string          `json:"path"`
	Code     int             `json:"code"`
	Flags    string          `json:"flags"`
	Details  string          `json:"details"`
	Metadata map[string]any  `json:"metadata"`
	Shadow   json.RawMessage `json:"shadow"`
	Cluster  string          `json:"cluster"`
}

// loggedOf waits for the line of the request that got an answer.
func (l *lab) loggedOf(t *testing.T, a answer) (found logLine) {
	t.Helper()
	id := a.header.Get("X-Request-Id")
	if id == "" {
		t.Fatal("the answer has no x-request-id to look for in the access log")
	}
	eventually(t, "the line of request "+id+" in Envoy's access log", func() error {
		for line := range strings.Lines(readFile(t, l.envoy.out)) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, id) {
				if err := json.Unmarshal([]byte(line), &found); err != nil {
					t.Fatalf("the access log has a line that is not JSON: %v: %s", err, line)
				}
				return nil
			}
		}
		return errors.New("it is not there")
	})
	return found
}

// stats gives Envoy's counters whose names contain a text, those of zero left
// out.
func (l *lab) stats(t *testing.T, contains string) map[string]int {
	t.Helper()
	client := http.Client{Transport: &l.http1, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/stats?usedonly", l.adminPort))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]int{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if n, err := strconv.Atoi(value); err == nil && n != 0 && strings.Contains(name, contains) {
			out[name] = n
		}
	}
	return out
}

// ---- The upstream ----------------------------------------------------------

// An upstream answers all requests with 200 and notes their bytes.
type upstream struct {
	port int

	mu     sync.Mutex
	got    []*reached
	status string   // another status and its reason
	says   []string // further header lines of the answers
}

// reached is a request as it reached the upstream.
type reached struct {
	received
	Target string // as in the request line
	Body   string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{port: l.Addr().(*net.TCPAddr).Port}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); u.serve(in, conn) == nil; {
				}
			}()
		}
	}()
	return u
}

// serve reads one request (RFC 9112) and answers it.
func (u *upstream) serve(in *bufio.Reader, out io.Writer) error {
	lines := textproto.NewReader(in)
	first, err := lines.ReadLine()
	if err != nil {
		return err
	}
	q := &reached{}
	q.Method, q.Target, _ = strings.Cut(first, " ")
	q.Target = strings.TrimSuffix(q.Target, " HTTP/1.1")
	q.Path, q.Query, _ = strings.Cut(q.Target, "?")
	for {
		line, err := lines.ReadLine()
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		q.Headers = append(q.Headers, [2]string{name, strings.TrimSpace(value)})
	}
	body, err := readBody(q, in)
	if err != nil {
		return err
	}
	q.Body = body
	u.mu.Lock()
	u.got = append(u.got, q)
	says := append([]string{"HTTP/1.1 200 OK", "content-length: 2", "x-upstream: here"}, u.says...)
	if u.status != "" {
		says[0] = "HTTP/1.1 " + u.status
	}
	u.mu.Unlock()
	if len(q.values("upgrade")) > 0 {
		says[0], says[1] = "HTTP/1.1 101 Switching Protocols", "connection: upgrade\r\nupgrade: "+q.values("upgrade")[0]
		_, err = io.WriteString(out, strings.Join(says, "\r\n")+"\r\n\r\n")
		return errors.Join(err, io.EOF) // what follows is no request
	}
	content := "ok"
	if strings.HasPrefix(says[0], "HTTP/1.1 204") {
		says, content = slices.Delete(says, 1, 2), ""
	}
	_, err = io.WriteString(out, strings.Join(says, "\r\n")+"\r\n\r\n"+content)
	return err
}

func readBody(q *reached, in *bufio.Reader) (string, error) {
	if slices.Equal(q.values("transfer-encoding"), []string{"chunked"}) {
		var body bytes.Buffer
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return "", err
			}
			size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
			if err != nil {
				return "", err
			}
			if _, err := io.CopyN(&body, in, size); err != nil {
				return "", err
			}
			if _, err := in.ReadString('\n'); err != nil || size == 0 {
				return body.String(), err
			}
		}
	}
	length := 0
	if v := q.values("content-length"); len(v) > 0 {
		length, _ = strconv.Atoi(v[0])
	}
	body := make([]byte, length)
	_, err := io.ReadFull(in, body)
	return string(body), err
}

// will sets further header lines of all answers from now on.
func (u *upstream) will(lines ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.says = lines
}

func (u *upstream) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got = nil
}

func (u *upstream) all() []*reached {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.got)
}

// names gives the names in a map, sorted.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// scratch gives a path in the lab's folder.
func (l *lab) scratch(name string) string { return filepath.Join(l.dir, name) }
