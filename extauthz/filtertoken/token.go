package filtertoken

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// What every token says of itself.
const (
	Type   = "edict-filter+jwt" // typ of its header
	Issued = "edict"            // iss
)

// Claims are what a token says. Texts must be UTF-8.
type Claims struct {
	ID      string // jti; unique, since it is what replays are refused by
	Subject string // sub: the principal's id

	Method  string   // mth
	Path    string   // pth: as the backend gets it, undecoded, without the query
	Query   string   // undecoded, without the question mark; its hash is qsh
	Host    string   // hst: as the backend gets it, in lower case
	Kind    string   // knd: of the resource
	Actions []string // act: all of them are planned

	Filter []byte // flt, in JSON
}

// payload is the body of a token, in the order of its claims.
type payload struct {
	Issuer  string          `json:"iss"`
	Issued  int64           `json:"iat"`
	Expires int64           `json:"exp"`
	ID      string          `json:"jti"`
	Subject string          `json:"sub"`
	Method  string          `json:"mth"`
	Path    string          `json:"pth"`
	Query   string          `json:"qsh,omitempty"`
	Host    string          `json:"hst"`
	Kind    string          `json:"knd"`
	Actions []string        `json:"act"`
	Filter  json.RawMessage `json:"flt,omitempty"`
	Handle  string          `json:"hdl,omitempty"`
}

// Errors of Append, beside those that say that a claim can't be written.
var (
	// ErrTooLarge says that the filter is larger than Options.HandleBytes, or
	// than all that may wait, or that the token is larger than Options.MaxBytes
	// even without it.
	ErrTooLarge = errors.New("the filter is too large")

	// ErrFull says that Options.Handles filters are waiting to be fetched, or that
	// with this one they would be more than Options.WaitingBytes.
	ErrFull = errors.New("too many filters are waiting to be fetched")
)

// signatureLength is that of Ed25519 in base64url.
var signatureLength = encoding.EncodedLen(ed25519.SignatureSize)

// encoding is base64url as JOSE has it (RFC 7515 §2). Strict: a handle has one
// spelling.
var encoding = base64.RawURLEncoding.Strict()

// Append appends a token to dst that is good from now on. It keeps nothing of
// the claims but, if that does not fit into the token, a copy of the filter.
func (i *Issuer) Append(dst []byte, c *Claims, now time.Time) ([]byte, error) {
	if err := c.check(); err != nil {
		return dst, err
	}
	key := i.keys.Load().signer
	p := payload{
		Issuer: Issued, Issued: now.Unix(), Expires: now.Add(i.options.Lifetime).Unix(), ID: c.ID, Subject: c.Subject,
		Method: c.Method, Path: c.Path, Query: HashQuery(c.Query), Host: c.Host, Kind: c.Kind, Actions: c.Actions, Filter: c.Filter,
	}
	var body []byte
	var err error
	fits := encoding.EncodedLen(len(c.Filter)) < i.options.MaxBytes // perhaps
	if fits {
		if body, err = p.encode(); err != nil {
			return dst, err
		}
		fits = key.length(body) <= i.options.MaxBytes
	}
	if !fits {
		handle := newHandle()
		p.Filter, p.Handle = nil, handle.String()
		if body, err = p.encode(); err != nil {
			return dst, err
		}
		if key.length(body) > i.options.MaxBytes || len(c.Filter) > min(i.options.HandleBytes, i.options.WaitingBytes) {
			return dst, ErrTooLarge
		}
		if !i.handles.put(handle, c.Filter, now) {
			return dst, ErrFull
		}
	}
	return key.sign(dst, body), nil
}

// check tells what no token can say.
func (c *Claims) check() error {
	for _, t := range [...]struct{ name, text string }{
		{"jti", c.ID}, {"sub", c.Subject}, {"mth", c.Method}, {"pth", c.Path}, {"hst", c.Host}, {"knd", c.Kind},
		{"act", strings.Join(c.Actions, "")},
	} {
		switch {
		case t.text == "":
			return fmt.Errorf("the claim %s would be empty", t.name)
		case !utf8.ValidString(t.text):
			return fmt.Errorf("the claim %s would not be UTF-8", t.name)
		}
	}
	if len(c.Filter) == 0 {
		return errors.New("there is no filter")
	}
	return nil
}

// encode gives the body as JSON. A filter that is no JSON is an error.
func (p *payload) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(p)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// HashQuery gives qsh: the SHA-256 of a query in base64url, and nothing of an
// empty one.
func HashQuery(query string) string {
	if query == "" {
		return ""
	}
	hash := sha256.Sum256([]byte(query))
	return encoding.EncodeToString(hash[:])
}

// length is that of the token with a body.
func (k *signer) length(body []byte) int {
	return len(k.head) + encoding.EncodedLen(len(body)) + 1 + signatureLength
}

// sign appends the token with a body: header, body and signature in base64url,
// with a dot between them.
func (k *signer) sign(dst, body []byte) []byte {
	from := len(dst)
	dst = append(dst, k.head...)
	dst = encoding.AppendEncode(dst, body)
	signature := ed25519.Sign(k.private, dst[from:])
	return encoding.AppendEncode(append(dst, '.'), signature)
}

// Payload gives what a token says, in JSON, whoever made it: for people to look
// at, and nothing to rely on.
func Payload(token string) ([]byte, error) {
	_, rest, _ := strings.Cut(token, ".")
	body, _, ok := strings.Cut(rest, ".")
	b, err := encoding.DecodeString(body)
	if !ok || err != nil || !json.Valid(b) {
		return nil, errors.New("this is no token with a filter")
	}
	return b, nil
}
