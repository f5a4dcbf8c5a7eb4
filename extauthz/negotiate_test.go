package extauthz

import "testing"

// What clients send as Accept, and the form in which they are told of a denial.
func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		accept string
		want   form
	}{
		{"", formProblem},
		{"*/*", formProblem},
		{"application/json", formProblem},
		{"application/problem+json", formProblem},
		{"application/*", formProblem},
		{"application/json, text/plain, */*", formProblem}, // axios
		{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", formHTML},
		{"TEXT/HTML", formHTML},
		{"text/html;level=1", formHTML},
		{"text/plain", formText},
		{"text/*", formText},
		{"text/*, text/html", formText},
		{"text/html;q=0.5, text/plain;q=0.4", formHTML},
		{"text/html;q=0, */*", formProblem},
		{"*/*;q=0.1, text/html; q=0.2", formHTML},
		{"application/json;q=0, */*", formText},
		{"application/json;q=0.1, application/problem+json;q=0.2, text/plain;q=0.2", formProblem},
		{"text/html;q=1.5, text/plain;q=0.1", formText},
		{"text/html;q=x, text/plain;q=0.1", formText},
		{"text/html;q=NaN", formProblem},
		{"image/png", formProblem},
		{"text/html ; Q=0.9 , application/json ; q=0.8", formHTML},
		{"text", formProblem},
		{",,,", formProblem},
		{"text/html\x00", formProblem},
	} {
		if got := negotiate(tt.accept); got != tt.want {
			t.Errorf("%q: form %d, want %d", tt.accept, got, tt.want)
		}
	}
	s := newServer(t, jwtOnly)
	for want, r := range map[string]testRequest{
		"text/html; charset=utf-8":  get("/nowhere").with("accept: text/plain;q=0.2", "accept: text/html"),
		"text/plain; charset=utf-8": get("/nowhere").with("accept: text/plain"),
		"application/problem+json":  get("/nowhere").with("accept: image/png"),
	} {
		if got := denialHeader(check(t, s, r), "content-type"); got != want {
			t.Errorf("%v: %q, want %q", r.headers, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { negotiate("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	f.Add(",;q=;=/*/")
	f.Fuzz(func(t *testing.T, accept string) {
		if got := negotiate(accept); got >= formGRPC {
			t.Fatalf("form %d", got)
		}
	})
}
