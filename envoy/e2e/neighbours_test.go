package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// These tests confirm what Edict relies on in the filters in front of it, and
// in the HTTP connection manager. What they show is written down in
// docs/envoy.md.

// jwtFilter gives a jwt_authn filter with a provider p, further providers, and
// what it requires.
func jwtFilter(settings, more, requires string) string {
	return `[{name: envoy.filters.http.jwt_authn, typed_config: {"@type": JwtAuthentication,
providers: {p: {issuer: "https://idp.edict.example/", audiences: [expenses], local_jwks: {inline_string: JWKS}, payload_in_metadata: jwt, failed_status_in_metadata: jwt_failure` + settings + `}` + more + `},
rules: [{match: {prefix: /}, requires: ` + requires + `}]}}]`
}

// TestEnvoyVerifiesTokens is about what jwt_authn leaves for Edict.
func TestEnvoyVerifiesTokens(t *testing.T) {
	const (
		strict   = "{provider_name: p}"
		tolerant = "{requires_any: {requirements: [{provider_name: p}, {allow_missing_or_failed: {}}]}}"
		missing  = "{requires_any: {requirements: [{provider_name: p}, {allow_missing: {}}]}}"
		authz    = "metadata_context_namespaces: [envoy.filters.http.jwt_authn]"
		claims2  = `, claim_to_headers: [{header_name: x-sub, claim_name: sub}, {header_name: x-roles, claim_name: roles}, {header_name: x-limit, claim_name: approvalLimit},
{header_name: x-float, claim_name: f}, {header_name: x-bool, claim_name: b}, {header_name: x-deep, claim_name: deep.er}, {header_name: x-map, claim_name: deep}]`
		second = `, q: {issuer: "https://other.example/", local_jwks: {inline_string: JWKS}, payload_in_metadata: jwt, failed_status_in_metadata: q_failure, from_headers: [{name: x-other}]}`
		both   = "{requires_all: {requirements: [{provider_name: p}, {provider_name: q}]}}"
	)
	l := startLab(t,
		door{name: "tolerant", authz: authz, before: jwtFilter(", header_in_metadata: jwt_header", "", tolerant)},
		door{name: "strict", authz: authz, before: jwtFilter("", "", strict)},
		door{name: "missing", authz: authz, before: jwtFilter("", "", missing)},
		door{name: "forwarded", authz: authz, before: jwtFilter(", forward: true", "", tolerant)},
		door{name: "headers", authz: authz, before: jwtFilter(claims2+", forward_payload_header: x-payload", "", tolerant)},
		door{name: "places", authz: authz, before: jwtFilter(`, from_headers: [{name: Authorization, value_prefix: "Bearer "}], from_params: [t], from_cookies: [c]`, "", tolerant)},
		door{name: "scope", authz: authz, before: jwtFilter(", normalize_payload_in_metadata: {space_delimited_claims: [scope, scp]}", "", tolerant)},
		door{name: "two", authz: authz, before: jwtFilter("", second, both)},
		door{name: "any", authz: authz, before: jwtFilter("", strings.Replace(second, ", from_headers: [{name: x-other}]", "", 1), "{requires_any: {requirements: [{provider_name: p}, {provider_name: q}]}}")},
		door{name: "any, tolerant", authz: authz, before: jwtFilter("", strings.Replace(second, ", from_headers: [{name: x-other}]", "", 1), "{requires_any: {requirements: [{provider_name: p}, {provider_name: q}, {allow_missing_or_failed: {}}]}}")},
		door{name: "cached", authz: authz, before: jwtFilter(", jwt_cache_config: {jwt_cache_size: 10}", "", tolerant)},
		door{name: "unverified", authz: authz, before: jwtFilter(", forward: true, forward_payload_header: x-payload"+claims2, "", "{extract_only_without_validation: {}}")},
		door{name: "preflight", authz: authz, before: strings.Replace(jwtFilter("", "", strict), `rules:`, `bypass_cors_preflight: true, rules:`, 1)},
		door{name: "lasting", authz: authz, before: jwtFilter(", require_expiration: true, max_lifetime: 7200s, clock_skew_seconds: 5", "", tolerant)},
		door{name: "not named", before: jwtFilter("", "", tolerant)},
		door{name: "behind", authz: authz, after: jwtFilter("", "", tolerant)},
	)
	const ns = "metadata_context.filter_metadata.envoy.filters.http.jwt_authn"
	now := time.Now()
	sign := func(changes map[string]any) string { return l.issuer.sign(claims("bob", changes)) }
	bearer := func(token string) string { return "Authorization: Bearer " + token }
	good := l.issuer.token("bob")
	forged := newIssuer(t).token("bob")
	exp := now.Add(time.Hour).Unix()
	with := func(fields map[string]any) (string, string) {
		all := map[string]any{"iss": "https://idp.edict.example/", "aud": "expenses", "sub": "bob", "exp": exp}
		for k, v := range fields {
			if all[k] = v; v == nil {
				delete(all, k)
			}
		}
		return bearer(l.issuer.sign(all)), string(encode(all))
	}
	failure := func(code int, message string) string {
		return fmt.Sprintf(`%s: {"jwt_failure":{"code":%d,"message":%q}}`, ns, code, message)
	}

	plain, plainClaims := with(nil)
	eve, eveClaims := with(map[string]any{"iss": "https://other.example/", "sub": "eve", "aud": nil})
	var sameClaims map[string]any
	if err := json.Unmarshal([]byte(plainClaims), &sameClaims); err != nil {
		t.Fatal(err)
	}
	unverified := bearer(newIssuer(t).sign(sameClaims))
	list, listClaims := with(map[string]any{"aud": []string{"x", "expenses"}})
	scope, scopeClaims := with(map[string]any{"scope": "a b  c", "scp": []string{"d e"}})
	rich, _ := with(map[string]any{"f": 1.5, "b": true, "deep": map[string]any{"er": "x"}, "roles": []string{"a", "b"}, "approvalLimit": 1000})
	l.run(t, []probe{
		{name: "the payload and the header", door: "tolerant", lines: []string{plain},
			want: []string{ns + `: {"jwt":` + plainClaims + `,"jwt_header":{"alg":"ES256","kid":"demo","typ":"JWT"}}`, "!request.http.headers.authorization", "!upstream.authorization"}},
		{name: "aud stays the list that it is", door: "strict", lines: []string{list}, want: []string{ns + `: {"jwt":` + listClaims + `}`}},
		{name: "forward keeps the token", door: "forwarded", lines: []string{plain}, want: []string{"request.http.headers." + strings.ToLower(plain[:13]) + plain[13:]}},
		{name: "no token", door: "tolerant", want: []string{failure(1, "Jwt is missing")}},
		{name: "the namespace must be named", door: "not named", lines: []string{plain}, want: []string{"metadata_context: {}"}},
		{name: "nothing if ext_authz comes first", door: "behind", lines: []string{plain}, want: []string{"metadata_context: {}", "request.http.headers." + strings.ToLower(plain[:13]) + plain[13:]}},
		{name: "strict: nobody is asked without a token", door: "strict", want: []string{"asked: 0", "answered: 401", "answer body: Jwt is missing"}},
		{name: "strict: nobody is asked for a forged one", door: "strict", lines: []string{bearer(forged)}, want: []string{"asked: 0", "answered: 401", "answer body: Jwt verification fails"}},
		{name: "allow_missing: a forged one is refused", door: "missing", lines: []string{bearer(forged)}, want: []string{"asked: 0", "answered: 401"}},
		{name: "allow_missing: none passes", door: "missing", want: []string{failure(1, "Jwt is missing")}},

		{name: "forged", door: "tolerant", lines: []string{bearer(forged)}, want: []string{failure(26, "Jwt verification fails"), "request.http.headers.authorization: Bearer " + forged, "upstream.authorization: Bearer " + forged}},
		{name: "expired", door: "tolerant", lines: []string{bearer(sign(map[string]any{"exp": now.Add(-time.Hour).Unix()}))}, want: []string{failure(3, "Jwt is expired")}},
		{name: "expired within a minute's skew", door: "tolerant", lines: []string{bearer(sign(map[string]any{"exp": now.Add(-40 * time.Second).Unix()}))}, want: []string{"asked: 1", "!request.http.headers.authorization"}},
		{name: "not yet good", door: "tolerant", lines: []string{bearer(sign(map[string]any{"nbf": now.Add(time.Hour).Unix()}))}, want: []string{failure(2, "Jwt not yet valid")}},
		{name: "for another", door: "tolerant", lines: []string{bearer(sign(map[string]any{"aud": "x"}))}, want: []string{failure(25, "Audiences in Jwt are not allowed")}},
		{name: "by another", door: "tolerant", lines: []string{bearer(sign(map[string]any{"iss": "x"}))}, want: []string{failure(24, "Jwt issuer is not configured")}},
		{name: "no token at all", door: "tolerant", lines: []string{bearer("x")}, want: []string{failure(4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")}},
		{name: "an exp that is a text", door: "tolerant", lines: []string{bearer(sign(map[string]any{"exp": "never"}))}, want: []string{failure(18, "Jwt payload [exp] field is not an integer")}},
		{name: "an exp that is a fraction", door: "tolerant", lines: []string{bearer(sign(map[string]any{"exp": float64(exp) + 0.5}))}, want: []string{"asked: 1"}},
		{name: "without exp", door: "tolerant", lines: []string{bearer(sign(map[string]any{"exp": nil}))}, want: []string{"asked: 1", "!request.http.headers.authorization"}},
		{name: "without exp where it is required", door: "lasting", lines: []string{bearer(sign(map[string]any{"exp": nil}))}, want: []string{failure(26, "Jwt verification fails")}},
		{name: "a token that is good for too long", door: "lasting", lines: []string{bearer(sign(map[string]any{"exp": now.Add(9 * time.Hour).Unix()}))}, want: []string{failure(26, "Jwt verification fails")}},
		{name: "no algorithm", door: "tolerant", lines: []string{bearer(unsigned("bob"))}, want: []string{failure(4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")}},
		{name: "the public key as a secret", door: "tolerant", lines: []string{bearer(l.issuer.confused("bob"))}, want: []string{failure(32, "Jwks doesn't have key to match kid or alg from Jwt")}},
		{name: "a crit that nobody understands is not heeded", door: "tolerant", lines: []string{bearer(l.issuer.signWith(map[string]any{"alg": "ES256", "kid": keyID, "crit": []string{"x"}, "x": 1}, claims("bob", nil)))}, want: []string{"asked: 1", "!request.http.headers.authorization"}},
		{name: "another kid", door: "tolerant", lines: []string{bearer(l.issuer.signWith(map[string]any{"alg": "ES256", "kid": "../x"}, claims("bob", nil)))}, want: []string{failure(32, "Jwks doesn't have key to match kid or alg from Jwt")}},
		{name: "no kid", door: "tolerant", lines: []string{bearer(l.issuer.signWith(map[string]any{"alg": "ES256"}, claims("bob", nil)))}, want: []string{"asked: 1", "!request.http.headers.authorization"}},
		{name: "an ID token's typ", door: "tolerant", lines: []string{bearer(l.issuer.signWith(map[string]any{"alg": "ES256", "kid": keyID, "typ": "id_token"}, claims("bob", nil)))}, want: []string{"asked: 1", "!request.http.headers.authorization"}},
		{name: "a scheme in lower case", door: "tolerant", lines: []string{"Authorization: bearer " + good}, want: []string{failure(1, "Jwt is missing"), "request.http.headers.authorization: bearer " + good}},
		{name: "two tokens", door: "tolerant", lines: []string{bearer(good), bearer(good)}, want: []string{failure(4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")}},
		{name: "a token and more", door: "tolerant", lines: []string{bearer(good) + ", x"}, want: []string{"asked: 1"}},

		{name: "normalized claims", door: "scope", lines: []string{scope},
			want: []string{ns + `: {"jwt":` + strings.Replace(scopeClaims, `"a b  c"`, `["a","b","c"]`, 1) + `}`}},
		{name: "claims that are not normalized", door: "strict", lines: []string{scope}, want: []string{ns + `: {"jwt":` + scopeClaims + `}`}},

		{name: "by default the query holds a token, too", door: "tolerant", line: "GET /?access_token=" + good + "&a=b HTTP/1.1", want: []string{"request.http.path: /?a=b"}},
		{name: "a token in a parameter", door: "places", line: "GET /?a=b&t=" + good + " HTTP/1.1", want: []string{"asked: 1", "request.http.path: /?a=b"}},
		{name: "a token in a cookie", door: "places", lines: []string{"Cookie: a=b; c=" + good}, want: []string{"asked: 1", "request.http.headers.cookie: a=b; c=" + good}},
		{name: "a good token and a forged one elsewhere", door: "places", line: "GET /?t=" + forged + " HTTP/1.1", lines: []string{bearer(good)}, want: []string{failure(26, "Jwt verification fails")}},
		{name: "a forged token and a good one elsewhere", door: "places", line: "GET /?t=" + strings.TrimPrefix(plain, "Authorization: Bearer ") + " HTTP/1.1", lines: []string{bearer(forged)},
			want: []string{ns + `: {"jwt":` + plainClaims + `,"jwt_failure":{"code":26,"message":"Jwt verification fails"}}`, "request.http.headers.authorization: Bearer " + forged}},

		{name: "headers of claims", door: "headers", lines: []string{rich},
			want: []string{"upstream.x-sub: bob", "upstream.x-limit: 1000", "upstream.x-float: 1.500000", "upstream.x-bool: true", "upstream.x-deep: x", "upstream.x-roles: WyJhIiwiYiJd", "upstream.x-map: eyJlciI6IngifQ=="}},
		{name: "headers of claims replace the client's", door: "headers", lines: []string{rich, "x-sub: root", "x-sub: admin", "x-payload: mine"},
			want: []string{"upstream.x-sub: bob"}},
		{name: "headers of claims that are absent are removed", door: "headers", lines: []string{plain, "x-deep: mine"}, want: []string{"!upstream.x-deep"}},
		{name: "without a token the headers are removed", door: "headers", lines: []string{"x-sub: root", "x-payload: mine"}, want: []string{"!request.http.headers.x-sub", "!upstream.x-sub", "!upstream.x-payload"}},
		{name: "with a forged token the headers are removed", door: "headers", lines: []string{bearer(forged), "x-sub: root", "x-payload: mine"}, want: []string{"!upstream.x-sub", "!upstream.x-payload"}},

		{name: "two providers with one key: the last counts", door: "two", lines: []string{plain, "x-other: " + strings.TrimPrefix(eve, "Authorization: Bearer ")},
			want: []string{ns + `: {"jwt":` + eveClaims + `}`}},
		{name: "extract_only_without_validation: the claims of a forged token go nowhere", door: "unverified", lines: []string{unverified},
			want: []string{failure(26, "Jwt verification fails"), "!upstream.x-sub", "!upstream.x-payload", "request.http.headers.x-jwt-signature-verified: false"}},
		{name: "extract_only_without_validation: those of a good one do", door: "unverified", lines: []string{plain},
			want: []string{ns + `: {"jwt":` + plainClaims + `}`, "upstream.x-sub: bob", "!request.http.headers.x-jwt-signature-verified"}},
		{name: "extract_only_without_validation: its header is the client's without a token", door: "unverified", lines: []string{"x-jwt-signature-verified: true"}, want: []string{"request.http.headers.x-jwt-signature-verified: true"}},
		{name: "extract_only_without_validation: but not with one", door: "unverified", lines: []string{unverified, "x-jwt-signature-verified: true"}, want: []string{"request.http.headers.x-jwt-signature-verified: false"}},
		{name: "a preflight passes without a token", door: "preflight", line: "OPTIONS / HTTP/1.1", lines: []string{"Origin: https://a.example", "Access-Control-Request-Method: GET"}, want: []string{"asked: 1", "!" + ns}},
		{name: "any of two providers: the second's token", door: "any", lines: []string{eve}, want: []string{ns + ": " + `{"jwt":` + eveClaims + `,"jwt_failure":{"code":24,"message":"Jwt issuer is not configured"}}`}},
		{name: "any of two providers, tolerant: the second's token", door: "any, tolerant", lines: []string{eve}, want: []string{ns + ": " + `{"jwt":` + eveClaims + `,"jwt_failure":{"code":24,"message":"Jwt issuer is not configured"}}`}},
		{name: "any of two providers, tolerant: the first's token", door: "any, tolerant", lines: []string{plain}, want: []string{ns + `: {"jwt":` + plainClaims + `}`}},
		{name: "any of two providers, tolerant: forged", door: "any, tolerant", lines: []string{bearer(forged)},
			want: []string{ns + `: {"jwt_failure":{"code":26,"message":"Jwt verification fails"},"q_failure":{"code":24,"message":"Jwt issuer is not configured"}}`}},
		{name: "a cached token, first", door: "cached", lines: []string{plain}, want: []string{ns + `: {"jwt":` + plainClaims + `}`}},
		{name: "a cached token, again", door: "cached", lines: []string{plain}, want: []string{ns + `: {"jwt":` + plainClaims + `}`}},
		{name: "a cached token with another signature", door: "cached", lines: []string{plain[:len(plain)-3]}, want: []string{failure(26, "Jwt verification fails")}},
	})
	t.Run("numbers are doubles", func(t *testing.T) {
		line, _ := with(map[string]any{"account": 9007199254740993})
		q := l.get(t, "strict", line).only(t)
		got := q.request.GetAttributes().GetMetadataContext().GetFilterMetadata()["envoy.filters.http.jwt_authn"].GetFields()["jwt"].GetStructValue().GetFields()["account"].GetNumberValue()
		if got != 9007199254740992 {
			t.Errorf("the claim is %v", got)
		}
	})
}

// TestEnvoyForwardsCertificates is about x-forwarded-client-cert in each mode of
// the HTTP connection manager.
func TestEnvoyForwardsCertificates(t *testing.T) {
	var doors []door
	for _, mode := range []string{"SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"} {
		settings := "{forward_client_cert_details: " + mode + ", set_current_client_cert_details: {subject: true, uri: true, dns: true}}"
		doors = append(doors, door{name: mode, hcm: settings, chain: secure, authz: "encode_raw_headers: true"}, door{name: mode + " plain", hcm: settings, authz: "encode_raw_headers: true"})
	}
	doors = append(doors, door{name: "all", hcm: "{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {subject: true, uri: true, dns: true, cert: true, chain: true}}", chain: secure},
		door{name: "by default", hcm: "{forward_client_cert_details: SANITIZE_SET}", chain: secure})
	l := startLab(t, doors...)
	const header = "request.http.header_map.x-forwarded-client-cert"
	const sent = `URI=spiffe://lab.example/ns/shop/sa/admin`
	hash := func(c *certificate) string { return sha256Hex(c.x509.Raw) }
	over := func(door string, c *certificate) func() net.Conn {
		return func() net.Conn {
			conn, err := l.overTLS(t, door, "lab.example", c)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
	}
	own := "By=spiffe://lab.example/ns/edge/sa/envoy;Hash=" + hash(l.certs.uris) +
		`;Subject="CN=web,O=Lab";URI=spiffe://lab.example/ns/shop/sa/web;URI=spiffe://lab.example/ns/shop/sa/admin;DNS=web.lab.example`
	var probes []probe
	for _, tt := range []struct{ mode, plain, anonymous, certified string }{
		{"SANITIZE", "", "", ""},
		{"FORWARD_ONLY", "", "", sent},
		{"APPEND_FORWARD", "", "", sent + "," + own},
		{"SANITIZE_SET", "", "", own},
		{"ALWAYS_FORWARD_ONLY", sent, sent, sent},
	} {
		want := func(value string) []string {
			if value == "" {
				return []string{"asked: 1", "!" + header, "!upstream.x-forwarded-client-cert"}
			}
			return []string{header + ": " + value, "upstream.x-forwarded-client-cert: " + value}
		}
		lines := []string{"x-forwarded-client-cert: " + sent}
		probes = append(probes,
			probe{name: tt.mode + " in plain text", door: tt.mode + " plain", lines: lines, want: want(tt.plain)},
			probe{name: tt.mode + " without a certificate", over: over(tt.mode, nil), lines: lines, want: want(tt.anonymous)},
			probe{name: tt.mode + " with one", over: over(tt.mode, l.certs.uris), lines: lines, want: want(tt.certified)},
		)
	}
	const asText = "request.http.headers.x-forwarded-client-cert"
	l.run(t, append(probes,
		probe{name: "two headers", over: over("APPEND_FORWARD", l.certs.uris), lines: []string{"x-forwarded-client-cert: By=a", "x-forwarded-client-cert: By=b"},
			want: []string{header + ": By=a,By=b," + own}},
		probe{name: "a subject with a comma", over: over("SANITIZE_SET", l.certs.subject),
			want: []string{header + ": By=spiffe://lab.example/ns/edge/sa/envoy;Hash=" + hash(l.certs.subject) + `;Subject="CN=a\, b,O=Lab";URI=`}},
		probe{name: "a subject that ends its quotes", over: over("SANITIZE_SET", l.certs.quoted),
			want: []string{header + ": By=spiffe://lab.example/ns/edge/sa/envoy;Hash=" + hash(l.certs.quoted) + `;Subject="CN=a\\\"\;URI=spiffe://lab.example/ns/shop/sa/admin\;x=\"";URI=`}},
		probe{name: "by default", over: over("by default", l.certs.uris), want: []string{asText + ": By=spiffe://lab.example/ns/edge/sa/envoy;Hash=" + hash(l.certs.uris)}},
		probe{name: "everything", over: over("all", l.certs.deep),
			want: []string{asText + ": By=spiffe://lab.example/ns/edge/sa/envoy;Hash=" + hash(l.certs.deep) + `;Cert="` + encoded(l.certs.deep.leaf) + `";Chain="` + encoded(l.certs.deep.chain) +
				`";Subject="CN=web,O=Lab";URI=spiffe://lab.example/ns/shop/sa/web;URI=spiffe://lab.example/ns/shop/sa/admin;DNS=web.lab.example`}},
	))
}
