package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// issue makes a certificate for whoever the template names.
func (a authority) issue(t *testing.T, subject pkix.Name, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, name := range names {
		if strings.Contains(name, "://") {
			u, err := url.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			template.URIs = append(template.URIs, u)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files gives a certificate and its key as Envoy's configuration has them.
func files(t *testing.T, c tls.Certificate) map[string]any {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"certificate_chain": inline(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))),
		"private_key":       inline(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
	}
}

func inline(text string) map[string]any { return map[string]any{"inline_string": text} }

const (
	apiID     = "spiffe://prod.test/ns/pay/sa/api"
	billingID = "spiffe://prod.test/ns/shop/sa/billing"
	devID     = "spiffe://dev.test/ns/pay/sa/api"
	gatewayID = "spiffe://prod.test/ns/istio-system/sa/gateway"
	serverID  = "spiffe://prod.test/ns/own/sa/own"
)

// peers is a rig with a listener for each way in which Envoy tells of peers.
type peers struct {
	*rig
	prod, dev authority
	ports     map[string]int // of listeners, by name
}

// The address that the gateway connects from.
const gatewayAddress = "127.0.0.9"

// startPeers starts a rig whose Envoy has these listeners beside that of the
// demo:
//
//	mesh     asks Edict; client certificates of two trust domains
//	gateway  passes on to inner, with SANITIZE_SET, from an address of its own
//	inner    asks Edict; plain text; passes on whatever X-Forwarded-Client-Cert it gets
//	ingress  passes on to sidecar over TLS, with SANITIZE_SET
//	sidecar  asks Edict; client certificates; APPEND_FORWARD
func startPeers(t *testing.T) *peers {
	t.Helper()
	// Edict removes the headers that it took an identity from, or did not.
	p := &peers{rig: newRig(t, append(patient, edit{`"^x-edict-[a-z0-9-]+$"`, `"^(x-edict-[a-z0-9-]+|x-forwarded-client-cert|x-api-key)$"`})...),
		prod: newAuthority(t, "prod"), dev: newAuthority(t, "dev"), ports: map[string]int{}}
	for _, name := range []string{"mesh", "gateway", "inner", "ingress", "sidecar"} {
		p.ports[name] = freePort(t)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, p.path("envoy/envoy.yaml"))), &config); err != nil {
		t.Fatal(err)
	}
	static := config["static_resources"].(map[string]any)
	listeners := static["listeners"].([]any)
	clusters := static["clusters"].([]any)

	server := files(t, p.prod.issue(t, pkix.Name{CommonName: "server"}, serverID, "server.test"))
	ca := map[string]any{"trusted_ca": inline(p.prod.pem() + p.dev.pem())}
	downstream := transportSocket("DownstreamTlsContext", map[string]any{
		"tls_certificates": []any{server}, "validation_context": ca,
	})
	details := map[string]any{"subject": true, "cert": true, "uri": true, "dns": true}
	asking := func(name, mode string, tls bool) {
		l := deepCopy(t, listeners[0]).(map[string]any)
		p.address(l, name)
		chain := l["filter_chains"].([]any)[0].(map[string]any)
		hcm := chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
		hcm["forward_client_cert_details"] = mode
		if mode == "APPEND_FORWARD" {
			hcm["set_current_client_cert_details"] = details
		}
		if tls {
			chain["transport_socket"] = downstream
		}
		listeners = append(listeners, l)
	}
	passing := func(name, cluster string) {
		l := map[string]any{"filter_chains": []any{map[string]any{
			"transport_socket": downstream,
			"filters": []any{map[string]any{"name": "hcm", "typed_config": map[string]any{
				"@type":                           "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix":                     name,
				"forward_client_cert_details":     "SANITIZE_SET",
				"set_current_client_cert_details": details,
				"route_config": map[string]any{"virtual_hosts": []any{map[string]any{"name": "all", "domains": []any{"*"}, "routes": []any{
					map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": cluster}}}}}},
				"http_filters": []any{map[string]any{"name": "router", "typed_config": map[string]any{
					"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
			}}},
		}}}
		p.address(l, name)
		listeners = append(listeners, l)
	}
	upstream := func(name string, more map[string]any) {
		c := map[string]any{"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": map[string]any{
			"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{
				"address": socketAddress("127.0.0.1", p.ports[name])}}}}}}}
		for k, v := range more {
			c[k] = v
		}
		clusters = append(clusters, c)
	}
	asking("mesh", "SANITIZE", true)
	passing("gateway", "inner")
	asking("inner", "ALWAYS_FORWARD_ONLY", false)
	upstream("inner", map[string]any{"upstream_bind_config": map[string]any{"source_address": map[string]any{"address": gatewayAddress, "port_value": 0}}})
	passing("ingress", "sidecar")
	asking("sidecar", "APPEND_FORWARD", true)
	upstream("sidecar", map[string]any{"transport_socket": transportSocket("UpstreamTlsContext", map[string]any{
		"tls_certificates": []any{files(t, p.prod.issue(t, pkix.Name{CommonName: "gateway"}, gatewayID))}, "validation_context": ca,
	})})
	static["listeners"], static["clusters"] = listeners, clusters
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "envoy/envoy.yaml", string(text))
	for name, to := range map[string]string{"peers_policy.yaml": "policies/peers.yaml", "peers_routes.yaml": "envoy/routes/peers.yaml"} {
		p.write(t, to, testdata(t, name))
	}
	sources := testdata(t, "peers_sources.yaml")
	p.edit(t, "envoy/edict.yaml", edit{"\nupstream:\n", "\n" + sources + "\nupstream:\n"})

	p.writeKeys(t, "robot", "batch", false)

	p.startBackend(t)
	p.startEdict(t)
	p.startEnvoy(t)
	p.waitServing(t)
	return p
}

// The keys that keys.yaml knows.
const (
	robotKey   = "robot-4f1b2b0b822cd15d6c15b0f00a08"
	revokedKey = "revoked-4f1b2b0b822cd15d6c15b0f00a08"
)

// writeKeys writes the file of API keys.
func (p *peers) writeKeys(t *testing.T, id, role string, disabled bool) {
	t.Helper()
	hash := func(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }
	p.write(t, "keys.yaml", fmt.Sprintf("apiVersion: edict.dev/v1\napiKeys:\n"+
		"  - {id: %s, hash: %q, roles: [%s], disabled: %v}\n"+
		"  - {id: other, hash: %q, roles: [batch], disabled: true}\n", id, hash(robotKey), role, disabled, hash(revokedKey)))
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (p *peers) address(listener map[string]any, name string) {
	listener["name"] = name
	listener["address"] = socketAddress("127.0.0.1", p.ports[name])
}

func socketAddress(address string, port int) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": address, "port_value": port}}
}

func transportSocket(kind string, common map[string]any) map[string]any {
	return map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": map[string]any{
		"@type":              "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3." + kind,
		"common_tls_context": common,
	}}
}

func deepCopy(t *testing.T, v any) (out any) {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err == nil {
		err = yaml.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A peerRequest goes to one of the listeners.
type peerRequest struct {
	to     string // a listener
	path   string
	as     *tls.Certificate // nil: none is shown
	header map[string]string
}

// ask sends a request, and gives the answer's status, and who it came from as
// far as the service knows: nil if it did not reach it.
func (p *peers) ask(t *testing.T, q peerRequest) (status int, got *received) {
	t.Helper()
	before := p.mark(t)
	scheme := "https"
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: "server.test", RootCAs: x509.NewCertPool()}}
	transport.TLSClientConfig.RootCAs.AddCert(p.prod.cert)
	if q.to == "inner" {
		scheme = "http"
	}
	if q.as != nil {
		// Shown to everybody, whichever authorities the listener names.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return q.as, nil }
	}
	out, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, p.ports[q.to], q.path), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range q.header {
		out.Header.Set(name, value)
	}
	client := http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Do(out)
	if err != nil {
		t.Fatalf("%s: %v", q.path, err)
	}
	resp.Body.Close()
	requests := p.requests(t, before)
	if len(requests) > 1 {
		t.Fatalf("%s: the service got %d requests", q.path, len(requests))
	}
	if len(requests) == 1 {
		got = requests[0]
	}
	return resp.StatusCode, got
}

// TestPeerIdentity lets Envoy tell Edict who its peers are: by their certificates
// and by what proxies tell of them.
func TestPeerIdentity(t *testing.T) {
	p := startPeers(t)
	api := p.prod.issue(t, pkix.Name{CommonName: "api"}, apiID, "api.pay.test")
	billing := p.prod.issue(t, pkix.Name{CommonName: "billing"}, billingID)
	almost := p.prod.issue(t, pkix.Name{CommonName: "billing"}, billingID+"-test")
	dev := p.dev.issue(t, pkix.Name{CommonName: "api"}, devID)
	imitation := p.dev.issue(t, pkix.Name{CommonName: "api"}, "spiffe://prod.test.dev.test/ns/pay/sa/api")
	two := p.prod.issue(t, pkix.Name{CommonName: "two"}, apiID, billingID)
	site := p.prod.issue(t, pkix.Name{CommonName: "x"}, "Site.pay.test")
	clerk := p.prod.issue(t, pkix.Name{CommonName: "clerk", Organization: []string{`Pay, "the" Inc+Co`}, Country: []string{"DE"}})
	umlaut := p.prod.issue(t, pkix.Name{CommonName: "clerk", Organization: []string{"Käufer"}})

	const (
		passes = http.StatusNotFound // what the service says of paths that it does not have
		hash   = "Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"
	)
	forged := map[string]string{"X-Forwarded-Client-Cert": "By=" + gatewayID + ";" + hash + ";URI=" + billingID}
	for _, tt := range []struct {
		name   string
		q      peerRequest
		status int
		who    string // "": does not reach the service
		roles  string
	}{
		// The certificate of the connection.
		{"by its SPIFFE ID", peerRequest{to: "mesh", path: "/peer/mesh", as: &api}, passes, apiID, "workload"},
		{"roles by a pattern", peerRequest{to: "mesh", path: "/peer/mesh", as: &billing}, passes, billingID, "biller"},
		{"not by a prefix", peerRequest{to: "mesh", path: "/peer/mesh", as: &almost}, passes, billingID + "-test", "workload"},
		{"its roles decide", peerRequest{to: "mesh", path: "/peer/bill", as: &billing}, passes, billingID, "biller"},
		{"not those of another", peerRequest{to: "mesh", path: "/peer/bill", as: &almost}, 403, "", ""},
		{"attributes of the ID and the certificate", peerRequest{to: "mesh", path: "/peer/attributes", as: &api}, passes, apiID, "workload"},
		{"attributes of another", peerRequest{to: "mesh", path: "/peer/attributes", as: &billing}, 403, "", ""},
		{"of a trust domain that is not named", peerRequest{to: "mesh", path: "/peer/mesh", as: &dev}, 403, "", ""},
		{"of a trust domain that begins alike", peerRequest{to: "mesh", path: "/peer/mesh", as: &imitation}, 403, "", ""},
		{"with two SPIFFE IDs", peerRequest{to: "mesh", path: "/peer/mesh", as: &two}, 403, "", ""},
		{"without a certificate", peerRequest{to: "mesh", path: "/peer/mesh"}, 401, "", ""},
		{"by its DNS name", peerRequest{to: "mesh", path: "/peer/names", as: &site}, passes, "site.pay.test", "site"},
		{"by its common name", peerRequest{to: "mesh", path: "/peer/subjects", as: &clerk}, passes, "clerk", "office"},
		{"by its common name beside an umlaut", peerRequest{to: "mesh", path: "/peer/subjects", as: &umlaut}, passes, "clerk", "office"},
		{"a forged header", peerRequest{to: "mesh", path: "/peer/mesh", as: &api, header: forged}, passes, apiID, "workload"},
		{"a forged header where headers count", peerRequest{to: "mesh", path: "/peer/edge", as: &api, header: forged}, 401, "", ""},

		// What a gateway tells, known by its address.
		{"by a gateway", peerRequest{to: "gateway", path: "/peer/edge", as: &api}, passes, apiID, "workload"},
		{"by a gateway, with its roles", peerRequest{to: "gateway", path: "/peer/edge", as: &billing}, passes, billingID, "biller"},
		{"forged before the gateway", peerRequest{to: "gateway", path: "/peer/edge", as: &api, header: forged}, passes, apiID, "workload"},
		{"nobody before the gateway", peerRequest{to: "gateway", path: "/peer/edge"}, 401, "", ""},
		{"forged by nobody before the gateway", peerRequest{to: "gateway", path: "/peer/edge", header: forged}, 401, "", ""},
		{"of another trust domain before the gateway", peerRequest{to: "gateway", path: "/peer/edge", as: &dev}, 403, "", ""},
		{"past the gateway", peerRequest{to: "inner", path: "/peer/edge", header: forged}, 400, "", ""},
		{"past the gateway, where it is ignored", peerRequest{to: "inner", path: "/peer/lenient", header: forged}, 401, "", ""},
		{"past the gateway, where no header is asked", peerRequest{to: "inner", path: "/peer/nobody", header: forged}, passes, "anonymous", "anonymous"},

		// What an ingress tells, known by its certificate, in the last element but one.
		{"by an ingress", peerRequest{to: "ingress", path: "/peer/sidecar", as: &api}, passes, apiID, "workload"},
		{"forged before the ingress", peerRequest{to: "ingress", path: "/peer/sidecar", as: &api, header: forged}, passes, apiID, "workload"},
		{"nobody before the ingress", peerRequest{to: "ingress", path: "/peer/sidecar"}, 401, "", ""},
		{"past the ingress", peerRequest{to: "sidecar", path: "/peer/sidecar", as: &api, header: forged}, 400, "", ""},
		{"the ingress itself", peerRequest{to: "ingress", path: "/peer/mesh", as: &api}, passes, gatewayID, "workload"},
	} {
		status, got := p.ask(t, tt.q)
		if status != tt.status || (got != nil) != (tt.who != "") {
			t.Errorf("%s: answered %d, reached the service: %v; want %d", tt.name, status, got != nil, tt.status)
			continue
		}
		if got == nil {
			continue
		}
		if who, roles := got.values("x-edict-principal"), got.values("x-edict-roles"); fmt.Sprint(who, roles) != fmt.Sprint([]string{tt.who}, []string{tt.roles}) {
			t.Errorf("%s: the service learns of %q with %q, want %q with %q", tt.name, who, roles, tt.who, tt.roles)
		}
		kept := strings.Contains(tt.q.path, "edge") || strings.Contains(tt.q.path, "sidecar")
		if header := got.values("x-forwarded-client-cert"); (len(header) > 0) != kept {
			t.Errorf("%s: the service gets X-Forwarded-Client-Cert %q", tt.name, header)
		}
	}
}

// TestAPIKeys lets requests bring API keys, beside certificates and tokens, and
// changes the file of keys under way.
func TestAPIKeys(t *testing.T) {
	p := startPeers(t)
	api := p.prod.issue(t, pkix.Name{CommonName: "api"}, apiID)
	const passes = http.StatusNotFound
	key := func(k string) map[string]string { return map[string]string{"X-Api-Key": k} }
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	both := func(k, token string) map[string]string {
		return map[string]string{"X-Api-Key": k, "Authorization": "Bearer " + token}
	}
	forged := map[string]string{"X-Edict-Principal": "root", "X-Forwarded-Client-Cert": "URI=" + billingID}
	for _, tt := range []struct {
		name   string
		q      peerRequest
		status int
		who    string
	}{
		{"a key", peerRequest{to: "inner", path: "/peer/keys", header: key(robotKey)}, passes, "robot"},
		{"a key in the query", peerRequest{to: "inner", path: "/peer/keys?a=1&api_key=" + robotKey}, passes, "robot"},
		{"an unknown key", peerRequest{to: "inner", path: "/peer/keys", header: key(robotKey + "x")}, 401, ""},
		{"a revoked key", peerRequest{to: "inner", path: "/peer/keys", header: key(revokedKey)}, 401, ""},
		{"no key", peerRequest{to: "inner", path: "/peer/keys"}, 401, ""},
		{"forged headers", peerRequest{to: "inner", path: "/peer/keys", header: forged}, 401, ""},
		{"a token in the place of a key", peerRequest{to: "inner", path: "/peer/keys", header: bearer(p.issuer.token("alice"))}, 403, ""}, // its roles may not
		{"a key and a token", peerRequest{to: "inner", path: "/peer/keys", header: both(robotKey, p.issuer.token("alice"))}, 400, ""},
		{"a key and a bad token", peerRequest{to: "inner", path: "/peer/keys", header: both(robotKey, "x.y.z")}, 400, ""},
		{"a bad token alone", peerRequest{to: "inner", path: "/peer/keys", header: bearer("x.y.z")}, 401, ""},
		{"the key before the certificate", peerRequest{to: "mesh", path: "/peer/keys", as: &api, header: key(robotKey)}, passes, "robot"},
		{"a bad key before the certificate", peerRequest{to: "mesh", path: "/peer/keys", as: &api, header: key(revokedKey)}, 401, ""},
		{"the certificate in the place of a key", peerRequest{to: "mesh", path: "/peer/keys", as: &api}, passes, apiID},
		{"the certificate before the key", peerRequest{to: "mesh", path: "/peer/mesh-first", as: &api, header: key(robotKey)}, passes, apiID},
		{"the key where there is no certificate", peerRequest{to: "mesh", path: "/peer/mesh-first", header: key(robotKey)}, passes, "robot"},
	} {
		status, got := p.ask(t, tt.q)
		if status != tt.status || (got != nil) != (tt.who != "") {
			t.Errorf("%s: answered %d, reached the service: %v; want %d", tt.name, status, got != nil, tt.status)
			continue
		}
		if got == nil {
			continue
		}
		if who := got.values("x-edict-principal"); fmt.Sprint(who) != fmt.Sprint([]string{tt.who}) {
			t.Errorf("%s: the service learns of %q, want %q", tt.name, who, tt.who)
		}
		if len(got.values("x-api-key")) > 0 || strings.Contains(got.Query, "api_key") {
			t.Errorf("%s: the service gets the key: %q, %q", tt.name, got.values("x-api-key"), got.Query)
		}
	}

	// The file is read again when it changes, unless it is bad.
	after := func(what string, want int) {
		t.Helper()
		eventually(t, what, func() error {
			if status, _ := p.ask(t, peerRequest{to: "inner", path: "/peer/keys", header: key(robotKey)}); status != want {
				return fmt.Errorf("answered %d, want %d", status, want)
			}
			return nil
		})
	}
	p.writeKeys(t, "robot", "batch", true)
	after("a key that was disabled is refused", 401)
	p.writeKeys(t, "robot", "batch", false)
	after("a key that was enabled is good", passes)
	p.write(t, "keys.yaml", "apiKeys: [")
	eventually(t, "a bad file is told of", func() error {
		if !strings.Contains(p.edict.log(), "the API keys were not loaded, and the old ones stay in force") {
			return errors.New("the log does not say so")
		}
		return nil
	})
	after("a bad file changes nothing", passes)
	for _, secret := range []string{robotKey, revokedKey} {
		if strings.Contains(p.edict.log(), secret) {
			t.Error("a key is in the log")
		}
	}
}
