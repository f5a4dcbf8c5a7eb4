package peercert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"edict/extauthz/target"
)

// MaxSize is the longest text that is read, in bytes. Real certificates have a
// few thousand.
const MaxSize = 64 << 10

// Parse reads the certificate in the field source.certificate of a
// CheckRequest: one PEM block of type CERTIFICATE (RFC 7468), percent-encoded
// (RFC 3986 §2.1; '+' stands for itself).
func Parse(encoded string) (*x509.Certificate, error) {
	if len(encoded) > MaxSize {
		return nil, fmt.Errorf("the certificate is longer than %d bytes", MaxSize)
	}
	text, ok := target.Unescape(encoded)
	if !ok {
		return nil, errors.New("the certificate is not percent-encoded")
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil || block.Type != "CERTIFICATE" || !strings.HasPrefix(text, "-----BEGIN"):
		return nil, errors.New("the certificate is not PEM")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("something follows the certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate can't be read: %w", err)
	}
	return c, nil
}

// Fingerprint is the SHA-256 of the certificate in DER, in lower-case
// hexadecimal, as openssl and Envoy's XFCC Hash give it.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Serial is the serial number in lower-case hexadecimal of whole bytes, as
// Envoy gives it: 0a for ten.
func Serial(c *x509.Certificate) string {
	if c.SerialNumber == nil || c.SerialNumber.Sign() == 0 {
		return "00"
	}
	return hex.EncodeToString(c.SerialNumber.Bytes())
}
