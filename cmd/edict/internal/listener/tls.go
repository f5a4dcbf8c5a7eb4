package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// TLS says how a listener proves who it is, and who clients must be.
type TLS struct {
	Cert string // file: certificate chain, PEM, its own first
	Key  string // file: private key of it, PEM

	// ClientCA is a file with the authorities, PEM, that clients must have a
	// certificate of. Empty: clients need none.
	ClientCA string

	// Clients admits only these of the clients that have one. Empty: all.
	Clients []Client

	MinVersion uint16 // as of crypto/tls
}

// Certificates are the certificate, key and authorities of a listener, as the
// files last held them.
type Certificates struct {
	options TLS
	current atomic.Pointer[state]
	seen    contents // that were looked at last, good or bad
}

// A state is what was read together.
type state struct {
	config *tls.Config
	expiry time.Time // of the certificate
}

// contents holds what the files held; authorities is nil without ClientCA.
type contents struct{ cert, key, authorities []byte }

func (c contents) equal(other contents) bool {
	return bytes.Equal(c.cert, other.cert) && bytes.Equal(c.key, other.key) && bytes.Equal(c.authorities, other.authorities)
}

// NewCertificates reads the files. The error names the one that is wrong.
func NewCertificates(o TLS) (*Certificates, error) {
	c := &Certificates{options: o}
	if _, err := c.Refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config gives the configuration of a server that speaks one of the protocols
// (ALPN, RFC 7301), the preferred one first. It stays up to date by itself.
func (c *Certificates) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: c.options.MinVersion,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := c.current.Load().config.Clone()
			config.NextProtos = protocols
			return config, nil
		},
	}
}

// Expiry gives the instant until which the certificate is good.
func (c *Certificates) Expiry() time.Time { return c.current.Load().expiry }

// Watch reads the files again and again until ctx ends, and tells what came of
// it: nil if something new is in use, and otherwise why it is not. It does not
// tell one thing twice in a row.
func (c *Certificates) Watch(ctx context.Context, every time.Duration, tell func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		renewed, err := c.Refresh()
		switch {
		case renewed:
			last = ""
			tell(nil)
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			tell(err)
		}
	}
}

// Refresh reads the files. It tells whether they hold something new, which is
// in use from now on, or what is wrong with them; then all stays as it is.
func (c *Certificates) Refresh() (renewed bool, err error) {
	in, err := c.steady()
	if err != nil {
		return false, err
	}
	before := c.current.Load()
	if before != nil && in.equal(c.seen) {
		// What was wrong with them once still is; only time can change that.
		return false, c.judge(before)
	}
	next, err := c.load(in)
	if err != nil {
		return false, err
	}
	c.seen = in
	c.current.Store(next)
	return true, nil
}

// judge tells whether a state is good still.
func (c *Certificates) judge(s *state) error {
	if now := time.Now(); now.After(s.expiry) {
		return fmt.Errorf("cert: %s: the certificate expired at %s", c.options.Cert, s.expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

// readings is how often the files are read before they count as unsteady.
const readings = 8

// steady reads the files until two readings in a row agree. A link that is
// swapped halfway through would otherwise give an old certificate and a new
// key.
func (c *Certificates) steady() (contents, error) {
	in, err := c.read()
	if err != nil {
		return in, err
	}
	for range readings - 1 {
		again, err := c.read()
		if err != nil {
			return in, err
		}
		if again.equal(in) {
			return again, nil
		}
		in = again
	}
	return in, errors.New("the certificate files change while they are read")
}

func (c *Certificates) read() (in contents, err error) {
	for _, f := range []struct {
		setting, name string
		content       *[]byte
	}{{"cert", c.options.Cert, &in.cert}, {"key", c.options.Key, &in.key}, {"clientCA", c.options.ClientCA, &in.authorities}} {
		if f.name == "" {
			continue
		}
		if *f.content, err = os.ReadFile(f.name); err != nil {
			return in, fmt.Errorf("%s: %w", f.setting, err)
		}
	}
	return in, nil
}

// load makes a state of what the files held.
func (c *Certificates) load(in contents) (*state, error) {
	pair, err := tls.X509KeyPair(in.cert, in.key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %s and %s: %w", c.options.Cert, c.options.Key, err)
	}
	s := &state{expiry: pair.Leaf.NotAfter, config: &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   c.options.MinVersion,
		// A session that goes on would be that of a client as it was judged
		// when it began. Connections are long, so handshakes are few.
		SessionTicketsDisabled: true,
	}}
	if err := c.judge(s); err != nil {
		return nil, err
	}
	if c.options.ClientCA == "" {
		return s, nil
	}
	pool, err := authorities(in.authorities)
	if err != nil {
		return nil, fmt.Errorf("clientCA: %s: %w", c.options.ClientCA, err)
	}
	s.config.ClientAuth = tls.RequireAndVerifyClientCert
	s.config.ClientCAs = pool
	s.config.VerifyConnection = func(conn tls.ConnectionState) error {
		return admit(c.options.Clients, conn.PeerCertificates[0])
	}
	return s, nil
}

// authorities reads certificates in PEM. All must be sound: one that was left
// out would turn clients away, and be missed late.
func authorities(content []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for n := 1; ; n++ {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			if n == 1 {
				return nil, errors.New("there is no certificate in it")
			}
			if rest := bytes.TrimSpace(content); bytes.Contains(rest, []byte("-----BEGIN ")) {
				return nil, fmt.Errorf("certificate %d is cut off", n)
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, not a certificate", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		pool.AddCert(cert)
	}
}
