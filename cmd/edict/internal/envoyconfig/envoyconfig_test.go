package envoyconfig_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"edict/cmd/edict/internal/envoyconfig"
	"edict/cmd/edict/internal/envoylint"
	"edict/engine/diag"
	"edict/extauthz"
)

// Whatever Edict needs, the linter finds nothing in what is printed, but that a
// remote host is spoken to in plain text.
func TestGeneratedIsClean(t *testing.T) {
	jwt := extauthz.Claims{Namespace: "envoy.filters.http.jwt_authn", Key: "jwt", Failure: "jwt_failure"}
	needs := map[string]extauthz.Needs{
		"nothing": {},
		"claims": {Claims: []extauthz.Claims{jwt, {Namespace: jwt.Namespace, Key: "partner", Failure: "why"}, {Namespace: "acme.tokens", Key: "x"}},
			Namespaces: []string{"acme.tokens", jwt.Namespace}, Upstream: []string{"x-edict-principal"}, Set: []string{"x-edict-principal"}},
		"all": {RouteNamespaces: []string{"acme", "odd: {name}"}, BodyRoutes: []string{"a/b", "a/c", "a/d", "a/e"}, BodyLimit: 20000, StreamRoutes: []string{"a/f"},
			SNI: true, Labels: true, Headers: []string{"cookie", "x-user"}, IdentityHeaders: []string{"x-user"}, Upstream: []string{"x-edict-roles", "x-user"}},
		"spellings": {EncodedSlashes: true, EmptySegments: true},
		"proxies":   {Headers: []string{"x-forwarded-client-cert"}, IdentityHeaders: []string{"x-forwarded-client-cert"}, Upstream: []string{"x-forwarded-client-cert"}},
		"tokens":    {Headers: []string{"authorization"}, TokenHeaders: []string{"authorization"}, Upstream: []string{"authorization"}},
		"keys":      {Headers: []string{"x-api-key", "x-tenant"}, TokenHeaders: []string{"x-api-key"}, Upstream: []string{"x-api-key", "x-tenant", "x-tier"}, Set: []string{"x-tenant", "x-tier"}},
		"removed":   {Claims: []extauthz.Claims{jwt}, Namespaces: []string{jwt.Namespace}, Upstream: []string{"authorization", "cookie", "via", "x-tier"}, Set: []string{"x-tier"}},
		"replaced":  {Claims: []extauthz.Claims{jwt}, Namespaces: []string{jwt.Namespace}, Upstream: []string{"authorization", "cookie", "x-tier"}, Set: []string{"authorization", "cookie", "x-tier"}},
		"both":      {Claims: []extauthz.Claims{jwt}, Namespaces: []string{jwt.Namespace}, TokenHeaders: []string{"authorization"}},
		"peers":     {Peer: true, Certificate: true},
		"any":       {AnyHeader: true, AnyNamespace: true, BodyRoutes: []string{"a/b"}},
	}
	for _, target := range envoyconfig.Targets() {
		for what, n := range needs {
			for _, address := range []string{"127.0.0.1:9001", "0.0.0.0:9001", "[::1]:9001", "unix:/run/edict/a b.sock", "edict.prod.svc.cluster.local:9001"} {
				t.Run(target+" "+what+" "+address, func(t *testing.T) {
					out, err := envoyconfig.Generate(target, envoyconfig.Edict{Needs: n, GRPC: envoyconfig.Listener{Address: "127.0.0.1:9001"}, Address: address})
					switch refused := err != nil; {
					case refused != (len(n.Claims) > 0 && target != envoyconfig.Envoy && target != envoyconfig.Network || what == "peers" && (target == envoyconfig.HTTP || target == envoyconfig.Gateway) || target == envoyconfig.Gateway && strings.HasPrefix(address, "unix:")):
						t.Fatalf("got %v", err)
					case refused:
						return
					}
					result := envoylint.Lint([]envoylint.File{{Name: "printed.yaml", Content: out}}, envoylint.Options{Needs: &n})
					for _, d := range result.Findings {
						if d.Code != envoylint.CodePlaintext || !strings.HasPrefix(address, "edict.") {
							t.Errorf("%s\n%s", diag.List{d}.Render(), out)
						}
					}
					if result.Judged == 0 || strings.Contains(string(out), "<no value>") {
						t.Errorf("%s", out)
					}
					if _, err := envoyconfig.JSON(out); err != nil {
						t.Error(err)
					}
					for _, name := range slices.Concat(n.Headers, []string{"authorization", "cookie", "via"}) {
						if regexp.MustCompile(`(remove:|-) ` + name + `\n`).Match(out) {
							t.Errorf("%s is removed before anybody reads it:\n%s", name, out)
						}
					}
					if forged := slices.Contains(n.Set, "x-tier") && target != envoyconfig.Network; forged != regexp.MustCompile(`(remove:|-) x-tier\n`).Match(out) {
						t.Errorf("clients can send x-tier: %t\n%s", forged, out)
					}
				})
			}
		}
	}
}

// A listener with TLS is spoken to with TLS, and a remote one is nothing to warn
// of then.
func TestGeneratedTLS(t *testing.T) {
	l := envoyconfig.Listener{Address: "127.0.0.1:9001", TLS: true, ClientTLS: true, TLS13: true}
	for _, target := range []string{envoyconfig.Envoy, envoyconfig.HTTP, envoyconfig.Network} {
		out, err := envoyconfig.Generate(target, envoyconfig.Edict{GRPC: l, HTTP: l, Address: "edict.prod.svc.cluster.local:9001"})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"sni: edict.prod.svc.cluster.local", "tls_maximum_protocol_version: TLSv1_3", "private_key:", "trusted_ca:"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: there is no %s", target, want)
			}
		}
		if list := envoylint.Lint([]envoylint.File{{Name: "printed.yaml", Content: out}}, envoylint.Options{}).Findings; len(list) > 0 {
			t.Error(list.Render())
		}
	}
}

// What is printed takes Edict's own headers from clients, so that nothing can be
// read from them.
func TestGeneratedReadsNoOwnHeader(t *testing.T) {
	for _, target := range envoyconfig.Targets() {
		_, err := envoyconfig.Generate(target, envoyconfig.Edict{Needs: extauthz.Needs{Headers: []string{"x-edict-user"}}, GRPC: envoyconfig.Listener{Address: "127.0.0.1:9001"}, Address: "127.0.0.1:9001"})
		if refused := err != nil && strings.Contains(err.Error(), "read the header x-edict-user"); refused == (target == envoyconfig.Network) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestGeneratedFits(t *testing.T) {
	n := extauthz.Needs{Upstream: []string{"x-edict-roles", "x-group", "x.user"}, Set: []string{"x-edict-roles", "x.user"}, IdentityHeaders: []string{"x-group"}, BodyRoutes: []string{"a/b"}, BodyLimit: 40000, StreamRoutes: []string{"a/c"}}
	for _, tt := range []struct{ target, address, want string }{
		{"envoy", "edict.internal:9001", "type: STRICT_DNS"},
		{"envoy", "10.0.0.1:9001", "type: STATIC"},
		{"envoy", ":9001", `{address: "127.0.0.1", port_value: 9001}`},
		{"envoy", "unix:/run/e.sock", `pipe: {path: "/run/e.sock"}`},
		{"envoy", "unix:/run/e.sock", "timeout: 0.100s"},
		{"envoy", "10.0.0.1:9001", `{regex: "^(x-edict-[a-z0-9-]+|x-group|x\\.user)$"}`},
		{"envoy", "10.0.0.1:9001", "- remove: x.user"},
		{"envoy", "10.0.0.1:9001", "# x-group is believed as it comes"},
		{"envoy", "10.0.0.1:9001", "per_connection_buffer_limit_bytes: 80000"},
		{"envoy", "10.0.0.1:9001", `{context_extensions: {body_limit: "40000"}}`},
		{"envoy", "10.0.0.1:9001", "match: {prefix: /, grpc: {}}"},
		{"http", "10.0.0.1:9003", `uri: "http://10.0.0.1:9003"`},
		{"istio", "127.0.0.1:9001", "service: edict.edict.svc.cluster.local"},
		{"istio", "unix:/run/e.sock", `address: "unix:///run/e.sock"`},
		{"istio", "authz.prod.svc.cluster.local:9001", "service: authz.prod.svc.cluster.local"},
		{"gateway", "authz.prod.svc.cluster.local:9001", "{name: authz, namespace: prod, port: 9001}"},
	} {
		out, err := envoyconfig.Generate(tt.target, envoyconfig.Edict{Needs: n, GRPC: envoyconfig.Listener{Address: "127.0.0.1:9001"}, Address: tt.address})
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s at %s: %v: no %s in\n%s", tt.target, tt.address, err, tt.want, out)
		}
	}
}
