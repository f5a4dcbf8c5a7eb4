package target_test

import (
	"strings"
	"testing"

	"edict/extauthz/target"
)

var hostAttacks = []attack{
	{"none", "", target.HostEmpty},
	{"only a dot", ".", target.HostEmpty},
	{"only a port", ":443", target.HostEmpty},
	{"userinfo", "api.example.com@evil", target.HostUserinfo},
	{"userinfo with a password", "user:secret@api.example.com", target.HostUserinfo},
	{"userinfo after a port", "api.example.com:443@evil", target.HostUserinfo},
	{"userinfo after an address", "[::1]@evil", target.HostUserinfo},
	{"space", "api.example.com evil", target.HostBadByte},
	{"leading space", " api.example.com", target.HostBadByte},
	{"two hosts", "api.example.com,evil", target.HostBadByte},
	{"slash", "api.example.com/evil", target.HostBadByte},
	{"backslash", `api.example.com\evil`, target.HostBadByte},
	{"fragment", "api.example.com#evil", target.HostBadByte},
	{"question mark", "api.example.com?evil", target.HostBadByte},
	{"percent escape", "api%2eexample.com", target.HostBadByte},
	{"NUL", "api.example.com\x00", target.HostBadByte},
	{"line feed", "api.example.com\nx", target.HostBadByte},
	{"DEL", "api.example.com\x7f", target.HostBadByte},
	{"non-ASCII", "bücher.example", target.HostBadByte},
	{"full-width", "ａpi.example.com", target.HostBadByte},
	{"wildcard", "*.example.com", target.HostBadByte},
	{"two trailing dots", "api.example.com..", target.HostBadName},
	{"leading dot", ".example.com", target.HostBadName},
	{"empty label", "api..example.com", target.HostBadName},
	{"label that begins with a hyphen", "-api.example.com", target.HostBadName},
	{"label that ends with a hyphen", "api-.example.com", target.HostBadName},
	{"overlong label", strings.Repeat("a", 64) + ".example.com", target.HostBadName},
	{"overlong name", strings.Repeat("a.", 127) + "com", target.HostTooLong},
	{"overlong authority", strings.Repeat("a", 1000), target.HostTooLong},
	{"empty port", "api.example.com:", target.HostBadPort},
	{"port that is a word", "api.example.com:https", target.HostBadPort},
	{"two ports", "api.example.com:80:443", target.HostBadPort},
	{"port zero", "api.example.com:0", target.HostBadPort},
	{"port too large", "api.example.com:65536", target.HostBadPort},
	{"signed port", "api.example.com:+443", target.HostBadPort},
	{"text after an address", "[::1]x", target.HostBadPort},
	{"dot after an address", "[::1].", target.HostBadPort},
	{"address without brackets", "::1", target.HostBadPort},
	{"open bracket", "[::1", target.HostBadAddress},
	{"zone", "[fe80::1%25eth0]", target.HostBadAddress},
	{"IPv4 in brackets", "[127.0.0.1]", target.HostBadAddress},
	{"name in brackets", "[example.com]", target.HostBadAddress},
	{"empty brackets", "[]", target.HostBadAddress},
}

func TestHostAttacks(t *testing.T) {
	for _, a := range hostAttacks {
		t.Run(a.name, func(t *testing.T) {
			if host, r := target.Host(a.raw); r != a.want || host != "" {
				t.Errorf("Host(%.60q) = %q, %v, want %v", a.raw, host, r, a.want)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for raw, want := range map[string]string{
		"api.example.com":          "api.example.com",
		"API.Example.com":          "api.example.com",
		"api.example.com:443":      "api.example.com",
		"api.example.com.":         "api.example.com",
		"API.Example.com.:8443":    "api.example.com",
		"localhost":                "localhost",
		"127.0.0.1:8080":           "127.0.0.1",
		"my_service.default.svc":   "my_service.default.svc",
		"xn--bcher-kva.example":    "xn--bcher-kva.example",
		"[::1]":                    "[::1]",
		"[::1]:443":                "[::1]",
		"[0:0:0:0:0:0:0:1]":        "[::1]",
		"[2001:DB8::A]:65535":      "[2001:db8::a]",
		"[::ffff:192.0.2.1]":       "[::ffff:192.0.2.1]",
		strings.Repeat("a.", 126):  strings.Repeat("a.", 125) + "a",
		strings.Repeat("a", 63):    strings.Repeat("a", 63),
		"api.example.com:00443":    "api.example.com",
		"a--b.example.com":         "a--b.example.com",
		"3com.example":             "3com.example",
		"api.example.com.:1":       "api.example.com",
		"KUBERNETES.default.svc.:": "", // an empty port
	} {
		got, r := target.Host(raw)
		if got != want || (r == target.OK) != (want != "") {
			t.Errorf("Host(%q) = %q, %v, want %q", raw, got, r, want)
		}
	}
}

func TestHostDoesNotAllocate(t *testing.T) {
	for _, raw := range []string{"api.example.com", "api.example.com.:8443", "[2001:db8::a]:443", "a,b"} {
		if n := testing.AllocsPerRun(100, func() { target.Host(raw) }); n != 0 {
			t.Errorf("Host(%q): %v allocations", raw, n)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, a := range hostAttacks {
		f.Add(a.raw)
	}
	for _, s := range []string{"API.Example.com.:8443", "[2001:DB8::A]:1", "localhost", "[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		host, r := target.Host(raw)
		if r != target.OK {
			if host != "" {
				t.Fatalf("Host(%q) = %q, %v", raw, host, r)
			}
			return
		}
		if again, r := target.Host(host); again != host || r != target.OK {
			t.Fatalf("Host(%q) = %q, and of that %q, %v", raw, host, again, r)
		}
		for _, twin := range []string{host + ":443", strings.ToUpper(host)} {
			if got, r := target.Host(twin); got != host || r != target.OK {
				t.Fatalf("Host(%q) = %q, but Host(%q) = %q, %v", raw, host, twin, got, r)
			}
		}
		if host[0] != '[' && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Fatalf("Host(%q) = %q", raw, host)
		}
		if !strings.HasPrefix(strings.ToLower(raw), host) && host[0] != '[' {
			t.Fatalf("Host(%q) = %q, which is not what it begins with", raw, host)
		}
	})
}

var methodAttacks = []attack{
	{"none", "", target.MethodEmpty},
	{"space", "GET /", target.MethodBadByte},
	{"line feed", "GET\n", target.MethodBadByte},
	{"slash", "GET/", target.MethodBadByte},
	{"colon", ":GET", target.MethodBadByte},
	{"comma", "GET,POST", target.MethodBadByte},
	{"non-ASCII", "GÉT", target.MethodBadByte},
	{"NUL", "GET\x00", target.MethodBadByte},
}

func TestMethod(t *testing.T) {
	for _, a := range methodAttacks {
		if r := target.Method(a.raw); r != a.want {
			t.Errorf("%s: Method(%q) = %v, want %v", a.name, a.raw, r, a.want)
		}
	}
	for _, m := range []string{"GET", "get", "M-SEARCH", "VERSION-CONTROL", "X!#$%&'*+-.^_`|~9"} {
		if r := target.Method(m); r != target.OK {
			t.Errorf("Method(%q) = %v, want ok", m, r)
		}
	}
}

func TestGRPCMethod(t *testing.T) {
	for _, c := range []struct{ path, service, method string }{
		{"/pkg.Service/Method", "pkg.Service", "Method"},
		{"/Service/M_1", "Service", "M_1"},
		{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"},
	} {
		service, method, ok := target.GRPCMethod(c.path)
		if !ok || service != c.service || method != c.method {
			t.Errorf("GRPCMethod(%q) = %q, %q, %v", c.path, service, method, ok)
		}
	}
	for name, path := range map[string]string{
		"trailing slash":      "/pkg.Service/Method/",
		"third segment":       "/pkg.Service/Method/x",
		"encoded slash":       "/pkg.Service%2FMethod",
		"encoded letter":      "/pkg.Service/%4dethod",
		"no leading slash":    "pkg.Service/Method",
		"two leading slashes": "//pkg.Service/Method",
		"query":               "/pkg.Service/Method?x=1",
		"dot in the method":   "/pkg.Service/Method.x",
		"dot segment":         "/../Method",
		"single dot":          "/./Method",
		"empty part":          "/pkg..Service/Method",
		"leading dot":         "/.Service/Method",
		"hyphen":              "/pkg.Ser-vice/Method",
		"no method":           "/pkg.Service/",
		"no service":          "//Method",
		"one segment":         "/pkg.Service",
		"root":                "/",
		"empty":               "",
		"non-ASCII":           "/pkg.Sérvice/Method",
		"path parameter":      "/pkg.Service/Method;x",
	} {
		if service, method, ok := target.GRPCMethod(path); ok || service != "" || method != "" {
			t.Errorf("%s: GRPCMethod(%q) = %q, %q, %v", name, path, service, method, ok)
		}
	}
}
