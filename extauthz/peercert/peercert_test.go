package peercert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"edict/extauthz/peercert"
)

// newCertificate makes a certificate that nobody vouches for, in PEM.
func newCertificate(t testing.TB, serial int64) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := url.Parse("spiffe://bank.test/ns/pay/sa/api")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "api", Organization: []string{"Bank"}},
		NotBefore:    time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_800_000_000, 0),
		URIs: []*url.URL{id}, DNSNames: []string{"api.bank.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// encode percent-encodes as Envoy does.
func encode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\n', c == '+', c == '/', c == '=', c == ' ', c == '%':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func TestParse(t *testing.T) {
	text := newCertificate(t, 10)
	for name, encoded := range map[string]string{"as Envoy": encode(text), "plus unencoded": strings.ReplaceAll(encode(text), "%2B", "+")} {
		c, err := peercert.Parse(encoded)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Subject.String() != "CN=api,O=Bank" || c.URIs[0].String() != "spiffe://bank.test/ns/pay/sa/api" || c.DNSNames[0] != "api.bank.test" {
			t.Errorf("%s: %v %v %v", name, c.Subject, c.URIs, c.DNSNames)
		}
		if got := peercert.Serial(c); got != "0a" {
			t.Errorf("%s: the serial is %s", name, got)
		}
		if got := peercert.Fingerprint(c); len(got) != 64 || got != strings.ToLower(got) {
			t.Errorf("%s: the fingerprint is %s", name, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	text := newCertificate(t, 1)
	for name, encoded := range map[string]string{
		"empty":             "",
		"no PEM":            "hello",
		"bad escape":        "%zz" + encode(text),
		"another PEM":       encode(strings.ReplaceAll(text, "CERTIFICATE", "PUBLIC KEY")),
		"two certificates":  encode(text + text),
		"something before":  "x%0A" + encode(text),
		"something after":   encode(text) + "x",
		"cut":               encode(text)[:len(encode(text))/2],
		"too long":          strings.Repeat("a", peercert.MaxSize+1),
		"not a certificate": encode(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}))),
	} {
		if c, err := peercert.Parse(encoded); err == nil {
			t.Errorf("%s: read as %v", name, c.Subject)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add(encode(newCertificate(f, 1)))
	f.Add("-----BEGIN CERTIFICATE-----%0AAAAA%0A-----END CERTIFICATE-----%0A")
	f.Fuzz(func(t *testing.T, encoded string) {
		c, err := peercert.Parse(encoded)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if c != nil {
			peercert.Serial(c)
			peercert.Fingerprint(c)
		}
	})
}
