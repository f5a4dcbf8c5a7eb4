package filtertoken_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edict/extauthz/filtertoken"
)

// The token that the tests of python/edict-fastapi verify is one of ours, to the
// letter.
func TestTheTokenThatBackendsAreTestedWith(t *testing.T) {
	b, err := os.ReadFile("../../python/edict-fastapi/tests/testdata/token.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct {
		Token string          `json:"token"`
		Keys  json.RawMessage `json:"jwks"`
		Now   int64           `json:"now"`
	}
	if err := json.Unmarshal(b, &sample); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	issuer, err := filtertoken.New(filtertoken.Options{KeyFile: file})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(sample.Now, 0)
	token, err := issuer.Append(nil, &filtertoken.Claims{
		ID: "d-1", Subject: "zoë, 100%", Method: "GET", Path: "/expenses/a%2Fb", Query: "q=%20<&>",
		Host: "expenses.example:8000", Kind: "expense", Actions: []string{"list", "view"},
		Filter: []byte(`{"kind":"KIND_CONDITIONAL","condition":{"expression":{"operator":"holds","operands":[{"expression":` +
			`{"operator":"eq","operands":[{"variable":"request.resource.attr.owner"},{"value":"zoë <&>"}]}}]}}}`),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	if string(token) != sample.Token {
		t.Errorf("got  %s\nhave %s", token, sample.Token)
	}
	var keys bytes.Buffer
	if err := json.Compact(&keys, sample.Keys); err != nil {
		t.Fatal(err)
	}
	if got := issuer.KeySet(now); !bytes.Equal(got, keys.Bytes()) {
		t.Errorf("got  %s\nhave %s", got, &keys)
	}
}
