package extauthz

import (
	"strings"
	"testing"

	"edict/engine"
)

// A header that says something else than the request is refused, unless the
// upstream is known not to heed it.
func TestOverridesAreRefused(t *testing.T) {
	const path, host = "/albums/alice/1?a=b", "x.example:8443"
	for _, tt := range []struct {
		line   string
		detail string // "": admitted
	}{
		{"x-http-method-override: DELETE", "method_override"},
		{"x-http-method-override: GET", ""},
		{"x-http-method-override: get", "method_override"},
		{"x-http-method: DELETE", "method_override"},
		{"x-method-override: DELETE", "method_override"},
		{"x-forwarded-method: DELETE", "method_override"},
		{"x-original-method: DELETE", "method_override"},
		{"x_http_method_override: DELETE", "method_override"},
		{"x-http_method-override: DELETE", "method_override"},
		{"x-http-method-overrides: DELETE", ""},
		{"http-method-override: DELETE", ""},
		{"x-original-url: /admin", "target_override"},
		{"x-original-url: " + path, ""},
		{"x-original-url: /albums/alice/1", ""},
		{"x-original-url: /albums/alice/1?a=c", "target_override"},
		{"x-original-url:   " + path + "  ", ""},
		{"x-original-url: http://" + host + path, ""},
		{"x-original-url: https://" + host + path, ""},
		{"x-original-url: https://evil.example" + path, "target_override"},
		{"x-original-url: https://" + host + ".evil.example" + path, "target_override"},
		{"x-original-url: ", "target_override"},
		{"x-original-uri: /admin", "target_override"},
		{"x-rewrite-url: /admin", "target_override"},
		{"x_rewrite_url: /admin", "target_override"},
		{"x-forwarded-uri: /admin", "target_override"},
		{"x-forwarded-path: /admin", "target_override"},
		{"x-envoy-original-path: /admin", "target_override"},
		{"x-forwarded-prefix: /admin", "prefix_override"},
		{"x-forwarded-prefix: /", ""},
		{"x-forwarded-prefix: ", ""},
		{"x-script-name: /admin", "prefix_override"},
		{"x-forwarded-host: evil.example", "host_override"},
		{"x-forwarded-host: X.example", ""},
		{"x-forwarded-host: x.example:8443", ""},
		{"x-forwarded-host: x.example, evil.example", "host_override"},
		{"x-original-host: evil.example", "host_override"},
		{"x-host: evil.example", "host_override"},
		{"forwarded: for=10.0.0.1", ""},
		{"forwarded: for=10.0.0.1;host=x.example:8443;proto=https", ""},
		{`forwarded: for=10.0.0.1; Host="X.example:8443"`, ""},
		{"forwarded: host=x.example", ""},
		{"forwarded: host=evil.example", "host_override"},
		{"forwarded: for=10.0.0.1;HOST=evil.example;proto=https", "host_override"},
		{"forwarded: host=x.example, for=10.0.0.2;host=evil.example", "host_override"},
		{"forwarded: host=evil.example, host=x.example", "host_override"},
		{`forwarded: host="evil.example"`, "host_override"},
		{`forwarded: host="x.example\"evil.example"`, "host_override"},
		{`forwarded: host = evil.example`, "host_override"},
		{`forwarded: for="a;host=evil.example"`, "host_override"}, // to those that split at each ;
		{"forwarded: host=", "host_override"},
		{"forwarded: for=host;by=host", ""},
		{"forwarded: vhost=evil.example", ""}, // a parameter of another name
		{"forwarded-host: evil.example", ""},
		{"x-forwarded-for: 10.0.0.1", ""},
		{"x-forwarded-proto: https", ""},
	} {
		for _, asMap := range []bool{false, true} {
			var record Record
			o := jwtOnly
			o.Observe = func(r *Record) { record = *r }
			s := newServer(t, o)
			r := get(path).as("alice", "admin").with(tt.line)
			r.host, r.asMap = host, asMap
			got, _ := reason(check(t, s, r))
			if want := map[bool]string{true: "allow", false: "bad_request"}[tt.detail == ""]; got != want || record.Detail != tt.detail {
				t.Errorf("%q, as map %t: got %s %q, want %s %q", tt.line, asMap, got, record.Detail, want, tt.detail)
			}
			if tt.detail == "" {
				continue
			}
			name, _, _ := strings.Cut(tt.line, ":")
			o.Ignored = []string{strings.ReplaceAll(name, "_", "-")}
			if got, _ := reason(check(t, newServer(t, o), r)); got != "allow" {
				t.Errorf("%q, ignored: got %s", tt.line, got)
			}
		}
	}
}

func TestMethodInTheQueryIsRefused(t *testing.T) {
	o := jwtOnly
	o.Ignored = []string{"_method"}
	lenient := newServer(t, o)
	s := newServer(t, jwtOnly)
	for query, want := range map[string]string{
		"_method=DELETE": "bad_request", "a=b&_method=DELETE": "bad_request", "a=b;_method=DELETE": "bad_request", "%5Fmethod=DELETE": "bad_request",
		"%5f%6deth%6Fd=DELETE&x=%zz": "bad_request", "_method": "bad_request", "_method=": "bad_request", "_method=GET&_method=PUT": "bad_request",
		"_method=GET": "allow", "_method=get": "allow", "method=DELETE": "allow", "_methods=DELETE": "allow", "x=_method": "allow", "_metho=%64": "allow",
		".method=DELETE": "bad_request", "%2Emethod=DELETE": "bad_request", "+%20_method=DELETE": "bad_request", "%20%5fmethod=DELETE": "bad_request", // PHP
		"+method=DELETE": "allow", "x.method=DELETE": "allow", "_method%00x=DELETE": "bad_request",
		"_method%=x": "allow", "%5Fmetho%=x": "allow", "_METHOD=DELETE": "allow", "": "allow",
	} {
		r := get("/albums/alice/1?"+query).as("alice", "admin")
		if got, _ := reason(check(t, s, r)); got != want {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
		if got, _ := reason(check(t, lenient, r)); got != "allow" {
			t.Errorf("%q, ignored: got %s", query, got)
		}
	}
}

func TestIgnoredOverridesAreNames(t *testing.T) {
	bad, message, hint := IgnoredOverrides([]string{"x-host", "x-original-ur"})
	if bad != 1 || message != `"x-original-ur" is nothing that Edict refuses` || !strings.HasPrefix(hint, `did you mean "x-original-ur`) {
		t.Errorf("got %d, %q, %q", bad, message, hint)
	}
	if _, err := NewCompiler(engine.Options{}, Options{Ignored: []string{"host"}}); err == nil {
		t.Error("a header that no rule is about is taken")
	}
	for _, name := range overrideNames {
		if len(name) > longestOverride {
			t.Errorf("%s is longer than longestOverride", name)
		}
	}
}
