package peercert_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"testing"

	"edict/extauthz/peercert"
)

// The principals are those that Envoy 1.40 gives; see envoy/e2e.
func TestPrincipal(t *testing.T) {
	id, _ := url.Parse("spiffe://bank.test/api")
	other, _ := url.Parse("https://bank.test/x")
	for want, c := range map[string]*x509.Certificate{
		"spiffe://bank.test/api":   {URIs: []*url.URL{id, other}, DNSNames: []string{"a.test"}, Subject: pkix.Name{CommonName: "x"}},
		"a.test":                   {DNSNames: []string{"a.test", "b.test"}, Subject: pkix.Name{CommonName: "x"}},
		`CN=x,O=K\C3\A4ufer\, Inc`: {Subject: pkix.Name{CommonName: "x", Organization: []string{"Käufer, Inc"}}},
		`CN=a\0Ab`:                 {Subject: pkix.Name{CommonName: "a\nb"}},
		"":                         {},
	} {
		if got := peercert.Principal(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCommonName(t *testing.T) {
	name := func(values ...string) *x509.Certificate {
		c := new(x509.Certificate)
		for _, v := range values {
			c.Subject.Names = append(c.Subject.Names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: v})
			c.Subject.CommonName = v
		}
		return c
	}
	if got, err := peercert.CommonName(name("clerk")); got != "clerk" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, c := range []*x509.Certificate{name(), name(""), name("clerk", "admin")} {
		if got, err := peercert.CommonName(c); err == nil {
			t.Errorf("got %q", got)
		}
	}
}

func TestHostName(t *testing.T) {
	for san, want := range map[string]string{
		"a.test": "a.test", "A.Test.": "a.test", "a_b.test": "a_b.test", "localhost": "localhost",
		"": "", "*.a.test": "", "a..test": "", ".a.test": "", "-a.test": "", "a b.test": "", "a.test\x00": "", "ä.test": "", "a.test/x": "", "CN=a": "",
	} {
		if got, err := peercert.HostName(san); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", san, got, err)
		}
	}
}
