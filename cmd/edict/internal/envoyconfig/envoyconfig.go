package envoyconfig

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"edict/engine/yamldoc"
	"edict/extauthz"
)

//go:embed templates
var files embed.FS

// Edict is what the configuration is to fit.
type Edict struct {
	Needs extauthz.Needs

	// GRPC and HTTP are where Edict answers. Address is where the proxy reaches
	// it, if that is elsewhere.
	GRPC, HTTP Listener
	Address    string

	HTTPOptions extauthz.HTTPOptions
}

// A Listener is one of Edict's.
type Listener struct {
	Address string // host:port or unix:/path; empty: there is none

	TLS       bool // it speaks TLS,
	ClientTLS bool // wants certificates of clients,
	TLS13     bool // and speaks no older version
}

// The proxies that a configuration can be for.
const (
	Envoy   = "envoy"   // with ext_authz over gRPC
	HTTP    = "http"    // with ext_authz over HTTP
	Network = "network" // with the filter for TCP
	Istio   = "istio"
	Gateway = "gateway" // Envoy Gateway
)

// Targets gives the proxies that a configuration can be for.
func Targets() []string { return []string{Envoy, HTTP, Network, Istio, Gateway} }

// defaultBodyLimit is how much of a body is handed on where Edict does not say.
const defaultBodyLimit = 8192

// A view is what the templates read.
type view struct {
	Needs extauthz.Needs

	Socket string // the path of a Unix socket; empty: Host and Port
	Host   string
	Port   string
	DNS    bool // Host is a name

	Service, Namespace string // of a service in Kubernetes

	TLS Listener // how it is spoken to

	GRPC      bool
	HTTP      extauthz.HTTPOptions
	Timeout   string // in the form of protobuf
	Millis    string // the same in the form of the Gateway API
	Providers []provider

	Body        bool
	BodyLimit   int
	BodyReaders string
	BufferLimit int
	Streams     bool // some routes are for gRPC and do not read the body

	Mutations        string   // a regular expression of the headers that Edict changes
	OtherUpstream    []string // those that do not begin with x-edict-, and that Edict alone sets
	Believed         []string // those that identity is taken from
	ForwardedCert    bool     // … with what other proxies say of certificates
	ClientCerts      bool     // of the clients are read
	UpstreamPatterns []string // the same as matchers
}

// A provider is an issuer of tokens.
type provider struct {
	Name    string
	Key     string // of its claims
	Failure string // of the reason why a token is bad
	Forward bool   // the token is handed on
}

// jwtNamespace is the namespace that jwt_authn writes to.
const jwtNamespace = "envoy.filters.http.jwt_authn"

// Generate writes the configuration for a proxy, as YAML. The error says what
// the proxy can't give.
func Generate(target string, e Edict) ([]byte, error) {
	v := &view{Needs: e.Needs, GRPC: target != HTTP, HTTP: e.HTTPOptions}
	if err := v.address(target, e); err != nil {
		return nil, err
	}
	if err := v.claims(target); err != nil {
		return nil, err
	}
	for _, name := range e.Needs.Headers {
		if strings.HasPrefix(name, own) && target != Network {
			return nil, fmt.Errorf("sources of identity or routes read the header %s of clients, which lose all that begin with %s; read another", name, own)
		}
	}
	v.body()
	v.mutations()
	t, err := template.New("").Funcs(template.FuncMap{"q": quote, "list": list}).ParseFS(files, "templates/*.tmpl")
	if err != nil {
		return nil, err
	}
	name := target
	if target == HTTP {
		name = Envoy
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, name+".yaml.tmpl", v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// address finds out where the proxy reaches Edict.
func (v *view) address(target string, e Edict) error {
	v.TLS = e.GRPC
	if target == HTTP {
		v.TLS = e.HTTP
	}
	address := e.Address
	if address == "" {
		address = v.TLS.Address
	}
	if address == "" {
		return errors.New("the HTTP variant is off: set listen.extAuthzHTTP, or say by --address where Edict answers it")
	}
	timeout := 250 * time.Millisecond
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		v.Socket, timeout = path, 100*time.Millisecond
	} else {
		host, port, err := net.SplitHostPort(address)
		if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
			return fmt.Errorf("%q is neither host:port nor unix:/path", address)
		}
		v.Host, v.Port = host, port
		ip, err := netip.ParseAddr(host)
		v.DNS = err != nil && host != ""
		switch {
		case host == "" || err == nil && ip.IsUnspecified():
			v.Host, v.DNS = "127.0.0.1", false // all interfaces, the nearest among them
		case host == "localhost":
			v.Host, v.DNS = "127.0.0.1", false
		}
	}
	v.Timeout, v.Millis = fmt.Sprintf("%.3fs", timeout.Seconds()), fmt.Sprintf("%dms", timeout.Milliseconds())
	switch target {
	case Istio:
		return v.meshAddress()
	case Gateway:
		if v.Socket != "" {
			return errors.New("a socket is nothing that Envoy Gateway can ask; say by --address which service, as in edict.edict.svc.cluster.local:9001")
		}
		v.kubernetes()
	}
	return nil
}

// meshAddress makes a service of an address that only one host knows.
func (v *view) meshAddress() error {
	switch {
	case v.Socket != "":
		v.Host, v.Port = "edict.internal", "9001" // of the ServiceEntry
	case !v.DNS:
		v.kubernetes()
		v.Host = v.Service + "." + v.Namespace + ".svc.cluster.local"
	}
	return nil
}

// kubernetes takes the names of the service from the host, and those of the
// manifests where the host is no service.
func (v *view) kubernetes() {
	v.Service, v.Namespace = "edict", "edict"
	if parts := strings.Split(v.Host, "."); v.DNS && len(parts) >= 2 {
		v.Service, v.Namespace = parts[0], parts[1]
	}
}

// claims finds out who verifies tokens.
func (v *view) claims(target string) error {
	switch {
	case target == HTTP && v.Needs.Peer:
		return errors.New("identity.sources takes identity from the peer's certificate, which the HTTP variant does not send; use gRPC")
	case target == Gateway && v.Needs.Certificate:
		return errors.New("the peer's certificate is read, which Envoy Gateway does not hand on")
	}
	metadata := fmt.Sprintf("identity.sources takes identity from the metadata %s", strings.Join(v.Needs.Namespaces, ", "))
	switch {
	case target == Network || len(v.Needs.Claims) == 0:
	case target == HTTP:
		return errors.New(metadata + ", which the HTTP variant does not send; let Edict verify tokens, or use gRPC")
	case target == Istio:
		return errors.New(metadata + ", and Istio has none when it asks Edict; let Edict verify tokens")
	case target == Gateway:
		return errors.New(metadata + ", which Envoy Gateway does not hand on; let Edict verify tokens")
	}
	for _, c := range v.Needs.Claims {
		if c.Namespace != jwtNamespace || slices.ContainsFunc(v.Providers, func(p provider) bool { return p.Key == c.Key }) {
			continue // another filter writes it, or it is there already
		}
		name := "idp"
		if n := len(v.Providers); n > 0 {
			name = fmt.Sprintf("idp%d", n+1)
		}
		v.Providers = append(v.Providers, provider{
			Name: name, Key: c.Key, Failure: c.Failure, Forward: slices.Contains(v.Needs.TokenHeaders, "authorization"),
		})
	}
	return nil
}

// body finds out how much of bodies is handed on.
func (v *view) body() {
	v.Body = len(v.Needs.BodyRoutes) > 0
	v.BodyLimit = v.Needs.BodyLimit
	if v.BodyLimit == 0 {
		v.BodyLimit = defaultBodyLimit
	}
	v.BufferLimit = max(32768, 2*v.BodyLimit)
	v.BodyReaders = strings.Join(v.Needs.BodyRoutes[:min(3, len(v.Needs.BodyRoutes))], ", ")
	if more := len(v.Needs.BodyRoutes) - 3; more > 0 {
		v.BodyReaders += fmt.Sprintf(" and %d more", more)
	}
	v.Streams = len(v.Needs.StreamRoutes) > 0
}

// mutations finds out which headers Edict may change.
func (v *view) mutations() {
	v.UpstreamPatterns = []string{"{prefix: " + own + "}"}
	for _, name := range v.Needs.Upstream {
		if !strings.HasPrefix(name, own) {
			switch {
			case name == "x-forwarded-client-cert":
				v.ForwardedCert = true
			case slices.Contains(v.Needs.IdentityHeaders, name):
				v.Believed = append(v.Believed, name)
			case !slices.Contains(v.Needs.Set, name): // nobody takes it for Edict's, and other routes get what the client sent
			case slices.Contains(v.Needs.Headers, name): // Edict reads what the client sends, such as a key
			case slices.Contains(clients, name):
			default:
				v.OtherUpstream = append(v.OtherUpstream, quote(name))
			}
			v.UpstreamPatterns = append(v.UpstreamPatterns, "{exact: "+quote(name)+"}")
		}
	}
	v.ClientCerts = v.Needs.Peer || v.Needs.Certificate || v.ForwardedCert
	v.Mutations = Mutations(v.Needs.Upstream)
}

// clients are headers that clients send of themselves, and that filters before
// Edict (jwt_authn, oauth2, cors), Envoy or Edict read whatever the routes say.
// They are not taken from all requests because some route sets one of them.
var clients = []string{
	"accept", "accept-encoding", "accept-language", "authorization", "content-encoding", "content-type", "cookie",
	"origin", "proxy-authorization", "referer", "user-agent", "x-forwarded-for", "x-forwarded-proto",
}

// own is what the names of Edict's own headers begin with.
const own = "x-edict-"

// Mutations gives the regular expression, in the syntax of RE2, of the headers
// that Edict may change in a request: its own, and those of upstream (see
// extauthz.Needs) that have other names.
func Mutations(upstream []string) string {
	names := []string{own + "[a-z0-9-]+"}
	for _, name := range upstream {
		if !strings.HasPrefix(name, own) {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	if len(names) == 1 {
		return "^" + names[0] + "$"
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// URI gives the address of the HTTP variant as a URI.
func (v *view) URI() string {
	if v.Socket != "" {
		return "http://edict"
	}
	return "http://" + net.JoinHostPort(v.Host, v.Port)
}

// ServerName is the name that Edict's certificate has.
func (v *view) ServerName() string {
	if v.DNS {
		return v.Host
	}
	return "edict"
}

// quote writes a text as a scalar of YAML: as it is, if nobody could take it for
// something else.
func quote(s string) string {
	if regexp.MustCompile(`^[a-z][a-z0-9._-]*[a-z0-9]$`).MatchString(s) && s != "true" && s != "false" && s != "null" {
		return s
	}
	b, _ := json.Marshal(s) // a text always can be
	return string(b)
}

// list writes texts as a list of YAML.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// JSON gives what Generate gave as JSON: one document as it is, several as a
// list.
func JSON(content []byte) ([]byte, error) {
	doc := yamldoc.ParseStream("envoy-config", content)
	var documents []any
	for _, root := range doc.Roots() {
		v, ok := root.TypedValue()
		if !ok {
			return nil, doc.Diagnostics()
		}
		documents = append(documents, v.Native())
	}
	if list := doc.Diagnostics(); len(list) > 0 {
		return nil, list
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	var v any = documents
	if len(documents) == 1 {
		v = documents[0]
	}
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
