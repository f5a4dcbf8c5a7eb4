package extauthz

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"edict/engine/value"
	"edict/extauthz/peercert"
)

// certificate makes a certificate in the form in which Envoy hands it on, and
// gives its SHA-256, too.
func certificate(t testing.TB, subject pkix.Name, uris, dns []string) (encoded, hash string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(10), Subject: subject, DNSNames: dns,
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0),
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return url.PathEscape(string(text)), peercert.Fingerprint(c)
}

// peerSources are the sources that testdata/peers.yaml names.
var peerSources = map[string]Source{
	"mesh": {MTLS: &MTLS{Workload{
		TrustDomains: []string{"prod.test", "dev.test"},
		Roles: []WorkloadRoles{
			{Match: "spiffe://prod.test/ns/*/sa/billing", Roles: []string{"biller"}},
			{Match: "spiffe://prod.test/ns/shop/sa/billing", Roles: []string{"shop-biller", "biller"}},
		},
		DefaultRoles: []string{"workload"},
	}}},
	"names": {MTLS: &MTLS{Workload{
		ID: DNSName, Roles: []WorkloadRoles{{Match: "plain.test", Roles: []string{"site"}}}, DefaultRoles: []string{"default"},
	}}},
	"subjects": {MTLS: &MTLS{Workload{ID: CommonName, Roles: []WorkloadRoles{{Match: "clerk", Roles: []string{"office"}}}}}},
	"edge": {XFCC: &XFCC{
		Workload:  Workload{TrustDomains: []string{"prod.test"}, DefaultRoles: []string{"workload"}},
		Proxies:   []string{"spiffe://prod.test/ns/istio-system/sa/gateway"},
		Addresses: []string{"10.0.3.0/24"},
	}},
	"lenient": {XFCC: &XFCC{
		Workload: Workload{TrustDomains: []string{"prod.test"}}, Addresses: []string{"10.0.3.7"}, IgnoreOthers: true,
	}},
	"sidecar": {XFCC: &XFCC{
		Workload: Workload{TrustDomains: []string{"prod.test"}, DefaultRoles: []string{"workload"}},
		Proxies:  []string{"spiffe://prod.test/ns/istio-system/sa/gateway"},
		By:       []string{"spiffe://prod.test/ns/istio-system/sa/*"},
		Hops:     2,
	}},
}

const peerPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: page
  version: default
  rules: [{name: all, actions: [read], effect: EFFECT_ALLOW, roles: ["*"]}]
`

const peerRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: pages
  routes:
    - {name: page, match: {path: /page}, resource: {kind: page, id: p}, action: read}
`

func TestPeers(t *testing.T) {
	texts := map[string]string{}
	for name, c := range map[string]struct {
		subject   pkix.Name
		uris, dns []string
	}{
		"api":      {pkix.Name{CommonName: "api", Organization: []string{"Pay, Inc"}}, []string{"spiffe://prod.test/ns/pay/sa/api"}, []string{"api.pay.test", "other.test"}},
		"two":      {pkix.Name{CommonName: "two"}, []string{"spiffe://prod.test/ns/pay/sa/api", "spiffe://prod.test/ns/shop/sa/billing"}, nil},
		"plain":    {pkix.Name{CommonName: "x"}, nil, []string{"plain.test"}},
		"capital":  {pkix.Name{CommonName: "x"}, nil, []string{"Plain.test"}},
		"clerk":    {pkix.Name{CommonName: "clerk", Organization: []string{"Pay"}}, nil, nil},
		"nameless": {pkix.Name{Organization: []string{"Pay"}}, nil, nil},
		"both": {pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "clerk"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"}}}, nil, nil},
	} {
		texts["${"+name+"}"], texts["${"+name+".hash}"] = certificate(t, c.subject, c.uris, c.dns)
	}
	filled := func(s string) string {
		for name, text := range texts {
			s = strings.ReplaceAll(s, name, text)
		}
		return s
	}
	content, err := os.ReadFile("testdata/peers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Source, Address, Principal, Certificate string
		Headers                                       []string
		Want, Detail, ID                              string
		Roles                                         []string
		Attributes                                    map[string]any
	}
	if err := yaml.Unmarshal([]byte(filled(string(content))), &cases); err != nil || len(cases) < 50 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			var seen Record
			var principal struct {
				id    string
				roles []string
			}
			rev := compile(t, Options{Identity: []Source{peerSources[c.Source]}, Observe: func(r *Record) { seen = *r }}, peerPolicy, peerRoutes)
			s := &Server{Panicked: func(v any, stack []byte) { t.Errorf("%v\n%s", v, stack) }}
			s.Use(rev)
			r := get("/page").with(c.Headers...)
			r.source, r.principal, r.certificate = c.Address, c.Principal, c.Certificate
			got, _ := reason(check(t, s, r))
			if got != c.Want || c.Detail != "" && seen.Detail != c.Detail {
				t.Fatalf("got %s (%s, %v), want %s (%s)", got, seen.Detail, seen.Err, c.Want, c.Detail)
			}
			if got != "allow" {
				return
			}
			told := rev.Explain(t.Context(), r.bytes(t))
			principal.id, principal.roles = told.Requests[0].Principal.ID, told.Requests[0].Principal.Roles
			if c.ID != "" && principal.id != c.ID || c.Roles != nil && !sameTexts(principal.roles, c.Roles) {
				t.Errorf("got %s with %q, want %s with %q", principal.id, principal.roles, c.ID, c.Roles)
			}
			want := MTLSPeer
			if peerSources[c.Source].XFCC != nil {
				want = Proxy
			}
			if seen.Source != want {
				t.Errorf("the provenance is %s", seen.Source)
			}
			if c.Attributes != nil {
				if got := value.OfMapping(told.Requests[0].Principal.Attr).Native(); !reflect.DeepEqual(got, any(c.Attributes)) {
					t.Errorf("attributes: got %v\nwant %v", got, c.Attributes)
				}
			}
		})
	}
}

func sameTexts(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// Whatever certificates, principals and headers say, there is no panic, and whom
// they make somebody is of a trust domain that is named.
func FuzzPeers(f *testing.F) {
	cert, hash := certificate(f, pkix.Name{CommonName: "api"}, []string{"spiffe://prod.test/ns/pay/sa/api"}, nil)
	f.Add("spiffe://prod.test/ns/pay/sa/api", "", "")
	f.Add("spiffe://prod.test/ns/pay/sa/api", cert, "")
	f.Add("spiffe://prod.test/ns/istio-system/sa/gateway", "", "Hash="+hash+";URI=spiffe://prod.test/ns/pay/sa/api")
	f.Add("spiffe://prod.test/ns/istio-system/sa/gateway", "", "Hash="+hash+";Cert=\""+cert+"\",Hash=00;URI=x")
	f.Add("CN=x", "-----BEGIN%20CERTIFICATE-----", "")
	s := &Server{Panicked: func(v any, stack []byte) { f.Errorf("%v\n%s", v, stack) }}
	s.Use(compile(f, Options{Identity: []Source{peerSources["sidecar"], peerSources["edge"], peerSources["mesh"]}, PrincipalHeader: "x-edict-principal"}, peerPolicy, peerRoutes))
	f.Fuzz(func(t *testing.T, principal, certificate, header string) {
		if !utf8.ValidString(principal) || !utf8.ValidString(certificate) {
			t.Skip("no protobuf has it")
		}
		r := get("/page")
		if header != "" {
			r = r.with("x-forwarded-client-cert: " + header)
		}
		r.principal, r.certificate = principal, certificate
		out := check(t, s, r)
		if got, _ := reason(out); got == "internal" {
			t.Fatal("a panic")
		}
		if out.GetStatus().GetCode() == 0 {
			set, _ := upstream(out)
			if who := set["x-edict-principal"]; !strings.HasPrefix(who, "spiffe://prod.test/") && !strings.HasPrefix(who, "spiffe://dev.test/") {
				t.Fatalf("%q is somebody", who)
			}
		}
	})
}
