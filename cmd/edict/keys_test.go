package main

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Issuers whose keys can't be had are told of, and keep Edict from being ready
// only where that is asked for.
func TestMissingKeys(t *testing.T) {
	const source = `identity.sources=[{jwt: {issuers: [{issuer: "https://idp.example", audiences: a, keys: {url: "https://127.0.0.1:1/keys"}}]}}, {jwtMetadata: {}}]`
	for name, test := range map[string]struct {
		required string
		code     int
		status   string
	}{
		"told":     {"false", http.StatusOK, "ready"},
		"required": {"true", http.StatusServiceUnavailable, "not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServed(t)
			s.start(source, "identity.requireKeys="+test.required)
			line := s.log.await(t, "the keys of an issuer could not be renewed", 1)
			if text := line.text("error"); !strings.Contains(text, "https://idp.example") {
				t.Errorf("the log says %q", text)
			}
			code, body := s.get("/readyz")
			if code != test.code || body["status"] != test.status || !reflect.DeepEqual(body["missingKeys"], []any{"https://idp.example"}) {
				t.Errorf("/readyz: %d, %v", code, body)
			}
			s.answers(aliceAsks, "allow", 200) // by what Envoy verified
		})
	}
}
