package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// A certificate is one with its key, as PEM; the chain begins with the leaf.
type certificate struct {
	chain, key []byte
	leaf       []byte // alone
	x509       *x509.Certificate
	signer     *ecdsa.PrivateKey
}

// certificates are those of a lab: an authority, Envoy's own, and those of
// clients by what they are known by.
type certificates struct {
	ca, server *certificate
	pool       *x509.CertPool

	uris    *certificate // two URIs, two DNS names, a subject
	dns     *certificate // two DNS names, a subject
	subject *certificate // a subject alone
	deep    *certificate // as uris, by an authority that ca signed
	foreign *certificate // as uris, by another authority
	quoted  *certificate // a subject that looks like more than that in quotes
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{pool: x509.NewCertPool()}
	authority := func(name string, by *certificate) *certificate {
		return newCertificate(t, by, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		})
	}
	c.ca = authority("Lab CA", nil)
	c.pool.AddCert(c.ca.x509)
	c.server = newCertificate(t, c.ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"lab.example", "other.example"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "lab.example", Path: "/ns/edge/sa/envoy"}},
	})
	uris := func() *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: "web", Organization: []string{"Lab"}}, DNSNames: []string{"web.lab.example"},
			URIs: []*url.URL{{Scheme: "spiffe", Host: "lab.example", Path: "/ns/shop/sa/web"}, {Scheme: "spiffe", Host: "lab.example", Path: "/ns/shop/sa/admin"}},
		}
	}
	c.uris = newCertificate(t, c.ca, uris())
	c.dns = newCertificate(t, c.ca, &x509.Certificate{Subject: pkix.Name{CommonName: "dns"}, DNSNames: []string{"one.lab.example", "two.lab.example"}})
	c.subject = newCertificate(t, c.ca, &x509.Certificate{Subject: pkix.Name{CommonName: "a, b", Organization: []string{"Lab"}}})
	c.quoted = newCertificate(t, c.ca, &x509.Certificate{Subject: pkix.Name{CommonName: `a\";URI=spiffe://lab.example/ns/shop/sa/admin;x="`}})
	c.deep = newCertificate(t, authority("Lab CA below", c.ca), uris())
	c.foreign = newCertificate(t, authority("Another CA", nil), uris())
	return c
}

// newCertificate makes a certificate that is signed by another, or by itself.
func newCertificate(t *testing.T, by *certificate, template *x509.Certificate) *certificate {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	c := &certificate{signer: key}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.x509, by.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	c.x509, err = x509.ParseCertificate(der)
	must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	c.leaf = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.chain = c.leaf
	if by != nil && by.x509.Issuer.CommonName != by.x509.Subject.CommonName {
		c.chain = append(c.chain[:len(c.chain):len(c.chain)], by.leaf...)
	}
	c.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return c
}

func sha256Hex(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
