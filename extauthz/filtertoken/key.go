package filtertoken

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// A signer is a key with what its tokens begin with.
type signer struct {
	private ed25519.PrivateKey
	public  publicKey
	head    string // the encoded header, and a dot
}

// A publicKey is a JWK (RFC 8037 §2).
type publicKey struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

// A retired key signs no more. Tokens by it may be on their way.
type retired struct {
	key   publicKey
	until time.Time
}

// keys are the key that signs and those that did.
type keys struct {
	signer *signer
	former []retired
}

// newSigner prepares a key. Its name is the thumbprint (RFC 7638), so that the
// same file gives the same name in every process.
func newSigner(private ed25519.PrivateKey) *signer {
	x := encoding.EncodeToString(private.Public().(ed25519.PublicKey))
	thumbprint := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	public := publicKey{Type: "OKP", Curve: "Ed25519", X: x, ID: encoding.EncodeToString(thumbprint[:]), Use: "sig", Algorithm: "EdDSA"}
	head := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":%q}`, public.ID, Type)
	return &signer{private: private, public: public, head: encoding.EncodeToString([]byte(head)) + "."}
}

// maxKeyFile is the most that a file with a key may have.
const maxKeyFile = 64 << 10

// readKey reads a file with an Ed25519 key in PKCS#8 and PEM (RFC 5958, RFC
// 7468), and nothing else. Errors tell nothing of what is in it.
func readKey(file string) (*signer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes", file, maxKeyFile)
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s has no PEM block PRIVATE KEY; make one by openssl genpkey -algorithm ed25519", file)
	}
	if another, _ := pem.Decode(rest); another != nil {
		return nil, fmt.Errorf("%s has more than one PEM block", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is no key in PKCS#8", file)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a key that is not of Ed25519; make one by openssl genpkey -algorithm ed25519", file)
	}
	return newSigner(private), nil
}

// replace makes a key the one that signs, and retires the one before.
func (i *Issuer) replace(s *signer, now time.Time) {
	next := &keys{signer: s}
	if before := i.keys.Load(); before != nil {
		if before.signer.public.ID == s.public.ID {
			return
		}
		next.former = append([]retired{{before.signer.public, now.Add(2 * i.options.Lifetime)}}, before.former...)
	}
	next.former = slices.DeleteFunc(next.former, func(r retired) bool { return now.After(r.until) || r.key.ID == s.public.ID })
	i.keys.Store(next)
}

// KeySet gives the public keys that tokens are verified with at an instant, as
// a JWK set (RFC 7517 §5).
func (i *Issuer) KeySet(now time.Time) []byte {
	k := i.keys.Load()
	out := struct {
		Keys []publicKey `json:"keys"`
	}{[]publicKey{k.signer.public}}
	for _, r := range k.former {
		if !now.After(r.until) {
			out.Keys = append(out.Keys, r.key)
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // of texts alone
	}
	return b
}

// errNoFile is what Reload gives of a key that was made and not read.
var errNoFile = errors.New("there is no file to read the key from")

// Reload reads the file of the key again. With an error the key stays.
func (i *Issuer) Reload() error {
	if i.options.KeyFile == "" {
		return errNoFile
	}
	s, err := readKey(i.options.KeyFile)
	if err != nil {
		return err
	}
	i.replace(s, time.Now())
	return nil
}
