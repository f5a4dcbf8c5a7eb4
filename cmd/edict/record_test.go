package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// What `edict record` writes holds no credential, and `edict check` replays it.
func TestRecord(t *testing.T) {
	s := newServed(t)
	out := filepath.Join(s.dir, "recorded")
	s.command = []string{"record", "--output", out, "--redact-claim", "roles", "--outcome", "allow", "--outcome", "no_route"}
	s.start()
	secrets := []string{"authorization: Bearer s3cret-token", "cookie: sid=s3cret-cookie", "x-api-key: s3cret-key", "referer: https://x/?access_token=s3cret-ref"}
	s.ask(question{path: "/thing?id=7&token=s3cret-query", roles: []any{"user"}, headers: secrets})
	s.ask(question{path: "/nowhere", body: "s3cret-body", method: "POST", roles: []any{"user"}})
	s.ask(question{path: "/thing"}) // 401, which is not asked for
	s.stop()
	if status := s.ended(); status != exitOK {
		t.Fatalf("status %d, %s", status, s.log)
	}
	files, err := filepath.Glob(out + "/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("the files are %q, %v; the log is %s", files, err, s.log)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, word := range strings.Fields(text) {
			if raw, err := base64.StdEncoding.DecodeString(strings.Trim(word, `",`)); err == nil {
				text += string(raw)
			}
		}
		if strings.Contains(text, "s3cret") {
			t.Errorf("%s holds a credential:\n%s", file, text)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", file, info.Mode())
		}
		status, answer, log := command(nil, "check", "--check-request", file, "--short",
			"--policies", filepath.Join(s.dir, "policies"), "--routes", filepath.Join(s.dir, "routes"))
		if status != exitOK || !strings.Contains(log, "lacks") {
			t.Errorf("%s: status %d, %s", file, status, log)
		}
		if !strings.Contains(answer, "GET /thing") && !strings.Contains(answer, "no_route") {
			t.Errorf("%s is answered with %s", file, answer)
		}
	}
	if last := s.log.await(t, "recorded", 1); last["written"] != float64(2) {
		t.Errorf("it says %v", last)
	}
}

func TestRecordEndsWith(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "file", "")
	for _, tc := range []struct {
		args []string
		says string
	}{
		{nil, "--output names the folder"},
		{[]string{"--output", dir + "/file"}, "--output: "},
		{[]string{"--output", dir, "--outcome", "denyy"}, `did you mean "deny"?`},
		{[]string{"--output", dir, "--max", "-1"}, "can't be negative"},
		{[]string{"--output", dir, "--config", ""}, "--config needs the name"},
	} {
		status, out, log := command(nil, append([]string{"record"}, tc.args...)...)
		if status != exitUsage || !strings.Contains(log, tc.says) || out != "" {
			t.Errorf("%q ends with %d; it says %s%s", tc.args, status, log, out)
		}
	}
}

// A check whose token Edict verified is replayed without the token.
func TestRecordOfAToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewBuilder().Issuer("https://idp.example").Audience([]string{"things"}).Subject("alice").
		Expiration(time.Now().Add(time.Hour)).Claim("roles", []string{"user"}).Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		t.Fatal(err)
	}
	s := newServed(t)
	s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	s.write("edict.yaml", "identity:\n  sources:\n    - jwt:\n        issuers:\n          - issuer: https://idp.example\n            audiences: [things]\n            keys: {file: "+s.dir+"/key.pem}\n")
	s.command = []string{"record", "--output", s.dir + "/recorded", "--config", s.dir + "/edict.yaml"}
	s.start()
	if reason, status := s.ask(question{path: "/thing", headers: []string{"authorization: Bearer " + string(signed)}}); reason != "allow" {
		t.Fatalf("%s, %d; the log is %s", reason, status, s.log)
	}
	s.stop()
	s.ended()
	files, err := filepath.Glob(s.dir + "/recorded/*.json")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err, s.log)
	}
	content, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(content), string(signed[len(signed)-20:])) {
		t.Errorf("the token is in the file: %v", err)
	}
	status, answer, log := command(nil, "check", "--check-request", files[0], "--short", "--config", s.dir+"/edict.yaml",
		"--policies", s.dir+"/policies", "--routes", s.dir+"/routes")
	if status != exitOK || !strings.Contains(answer, "GET /thing: allow") || !strings.Contains(answer, "alice") {
		t.Errorf("status %d, %s\n%s", status, log, answer)
	}
}
