package extauthz

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// canonical gives a request in the one spelling that means the same: the host
// in lower case without port and final dot, each segment of the path and each
// name and value of the query decoded once and encoded anew as far as it must
// be. It is written with net/url, which Edict itself does not use.
func canonical(r testRequest) (testRequest, error) {
	path, query, hasQuery := strings.Cut(r.path, "?")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return r, err
		}
		segments[i] = url.PathEscape(decoded)
	}
	r.path = strings.Join(segments, "/")
	if hasQuery {
		var pairs []string
		for pair := range strings.SplitSeq(query, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			for _, part := range []*string{&name, &value} {
				// A query that no route reads is not looked at.
				if decoded, err := url.QueryUnescape(*part); err == nil {
					*part = url.QueryEscape(decoded)
				}
			}
			pairs = append(pairs, name+"="+value)
		}
		r.path += "?" + strings.Join(pairs, "&")
	}
	host := strings.ToLower(r.host)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	r.host = strings.TrimSuffix(host, ".")
	return r, nil
}

// means tells whether the album policy, as people read it, lets alice, a user,
// do what a request asks for. It shares nothing with what it judges.
func means(r testRequest) bool {
	path, query, _ := strings.Cut(r.path, "?")
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		segments[i], _ = url.PathUnescape(s)
	}
	values, err := url.ParseQuery(query)
	reads := r.method == "GET" || r.method == "HEAD"
	switch {
	case len(segments) == 1 && segments[0] == "albums":
		var body struct{ Size float64 }
		return reads || json.Unmarshal([]byte(r.body), &body) == nil && (r.method == "POST" && body.Size < 100 || r.method == "PUT")
	case len(segments) == 3 && segments[0] == "albums":
		return reads && segments[1] == "alice" && segments[2] != ""
	case len(segments) == 2 && segments[0] == "both":
		return reads && segments[1] == "alice"
	case len(segments) == 1 && (segments[0] == "preview" || segments[0] == "open"):
		return reads
	case len(segments) == 1 && segments[0] == "search":
		return reads && err == nil && len(values["id"]) == 1 && values["id"][0] != ""
	case len(segments) == 2 && segments[0] == "shop.v1.Albums":
		return r.method == "POST" && segments[1] != ""
	}
	return false
}

// checkCanonical checks that a request of alice's is allowed only if it means
// what she may do, and that then its canonical form is allowed just the same.
func checkCanonical(t *testing.T, s *Server, r testRequest) (allowed bool) {
	t.Helper()
	ask := func(r testRequest) *authv3.CheckResponse {
		t.Helper()
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(s.AppendCheck(context.Background(), nil, r.bytes(t)), out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	r = r.as("alice", "user")
	out := ask(r)
	got, _ := reason(out)
	if got == "internal" {
		t.Fatalf("%s %q of %q: a panic", r.method, r.path, r.host)
	}
	if (got == "allow") != (out.GetStatus().GetCode() == 0) {
		t.Fatalf("%s %q of %q: %s with code %d", r.method, r.path, r.host, got, out.GetStatus().GetCode())
	}
	if got != "allow" {
		return false
	}
	if !means(r) {
		t.Fatalf("%s %q of %q, body %q: allowed, though alice may not do that", r.method, r.path, r.host, r.body)
	}
	plain, err := canonical(r)
	if err != nil {
		t.Fatalf("%s %q of %q: allowed, though it can't be read: %v", r.method, r.path, r.host, err)
	}
	again := ask(plain)
	if again.GetStatus().GetCode() != 0 || metadata(again, "route") != metadata(out, "route") || metadata(again, "rule") != metadata(out, "rule") {
		t.Fatalf("%s %q of %q: allowed as %s by %s, but %q of %q is not, or otherwise: %v", r.method, r.path, r.host,
			metadata(out, "route"), metadata(out, "rule"), plain.path, plain.host, again)
	}
	return true
}

// What is allowed is allowed in its canonical form, too, and means the same.
func TestWhatIsAllowedIsAllowedInItsCanonicalForm(t *testing.T) {
	s := newServer(t, jwtOnly)
	rnd := rand.New(rand.NewPCG(4, 4))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	odd := func(s string) string { // with some characters in another spelling
		var b strings.Builder
		for i := range len(s) {
			switch n := rnd.IntN(40); {
			case n < 3:
				fmt.Fprintf(&b, "%%%02x", s[i])
			case n == 3:
				fmt.Fprintf(&b, "%%25%02X", s[i])
			case n == 4:
				b.WriteString(strings.ToUpper(s[i : i+1]))
			case n == 5:
				b.WriteString(pick("", "/", "//", "/./", "/../", "%2f", "%5c", `\`, ";", "%00", "%ff", "\xff", ".", "?", "#", "é", "%c0%af", "&", "="))
			default:
				b.WriteByte(s[i])
			}
		}
		return b.String()
	}
	allowed := map[bool]int{}
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	for range n {
		path := pick("/albums", "/albums/alice/1", "/albums/bob/1", "/both/alice", "/both/bob", "/preview", "/open", "/search?id=1", "/search?a=b&id=x",
			"/claim", "/broken", "/shop.v1.Albums/List", "/albums/alice/1?a=b", "/")
		r := testRequest{method: pick("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"), path: path, host: pick("x.example", "X.Example", "x.example:81", "x.example.", "x.example.:81", "[::1]:81", "a@x.example", "")}
		if rnd.IntN(3) > 0 {
			r.path = odd(path)
		}
		if r.method == "POST" || r.method == "PUT" {
			r.body = pick(`{"size": 9}`, `{"size": 900}`, `{"size": 9, "size": 900}`, "")
			r.headers = []string{"content-type: application/json", fmt.Sprintf("content-length: %d", len(r.body))}
		}
		if strings.HasPrefix(path, "/shop") {
			r.headers = []string{"content-type: application/grpc"}
		}
		r.asMap = rnd.IntN(2) == 0
		r.path = strings.ToValidUTF8(r.path, "!") // as Envoy hands it on
		allowed[checkCanonical(t, s, r)]++
	}
	if allowed[true] < n/50 || allowed[false] < n/50 {
		t.Errorf("%d of %d were allowed, which shows little", allowed[true], n)
	}
}

func FuzzCanonical(f *testing.F) {
	s := newServer(f, jwtOnly)
	for _, path := range []string{"/albums", "/albums/alice/1", "/%61lbums/%61lice/1", "/albums/alice/..%2fbob/1", "/albums//alice/1", "/search?id=1", "/search?%69d=1&a", "/search?id=1&id=2", "/preview?_method=DELETE",
		"/shop.v1.Albums/List", "//x/albums", "/albums/alice/%E2%80%8B", "/both/alice?x=%zz", "/albums/alice/1;x", "/albums/alice/%c3%a9", "/albums/alice/a%20b"} {
		for _, host := range []string{"x.example", "X.example.:81"} {
			f.Add("GET", path, host, "x-a", "b", "")
		}
	}
	f.Add("POST", "/albums", "x.example", "content-length", "11", `{"size": 9}`)
	f.Add("GET", "/albums/alice/1", "x.example", "x-original-url", "/albums/bob/1", "")
	f.Fuzz(func(t *testing.T, method, path, host, header, value, body string) {
		r := testRequest{method: strings.ToValidUTF8(method, "!"), path: strings.ToValidUTF8(path, "!"), host: strings.ToValidUTF8(host, "!"), body: body}
		if header != "" && !strings.ContainsAny(header, ":") {
			r.headers = []string{strings.ToValidUTF8(header, "!") + ": " + value}
		}
		if body != "" {
			r.headers = append(r.headers, "content-type: application/json")
		}
		checkCanonical(t, s, r)
	})
}
