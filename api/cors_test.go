package api

import (
	"net/http"
	"testing"
	"time"
)

func TestCORS(t *testing.T) {
	s, _ := newServer(t)
	const page = "https://app.example.org"
	for _, tt := range []struct {
		name            string
		cors            CORS
		method, origin  string
		asks, asksFor   string // of a preflight request: method and headers
		allowed, header string // the origin and the headers that are let through; empty: none
		maxAge          string
	}{
		{name: "no page", method: "POST"},
		{name: "a page", method: "POST", origin: page, allowed: "*"},
		{name: "a page may ask", method: "OPTIONS", origin: page, asks: "POST", asksFor: "content-type", allowed: "*", header: "content-type"},
		{name: "with several headers", method: "OPTIONS", origin: page, asks: "POST", asksFor: "accept, Content-Type", allowed: "*", header: "accept, Content-Type"},
		{name: "without headers", method: "OPTIONS", origin: page, asks: "GET", allowed: "*"},
		{name: "with headers that are not let through", method: "OPTIONS", origin: page, asks: "POST", asksFor: "content-type,authorization"},
		{name: "with a method that is not let through", method: "OPTIONS", origin: page, asks: "TRACE"},
		{name: "other headers", cors: CORS{Headers: []string{"X-Tenant"}}, method: "OPTIONS", origin: page, asks: "POST", asksFor: "x-tenant", allowed: "*", header: "x-tenant"},
		{name: "other headers take the place of the usual ones", cors: CORS{Headers: []string{"x-tenant"}}, method: "OPTIONS", origin: page, asks: "POST", asksFor: "content-type"},
		{name: "all headers", cors: CORS{Headers: []string{"*"}}, method: "OPTIONS", origin: page, asks: "POST", asksFor: "x-y", allowed: "*", header: "x-y"},
		{name: "one of the pages", cors: CORS{Origins: []string{"https://a.example", page}}, method: "POST", origin: page, allowed: page},
		{name: "another page", cors: CORS{Origins: []string{page}}, method: "POST", origin: "https://evil.example"},
		{name: "a page whose name begins alike", cors: CORS{Origins: []string{page}}, method: "OPTIONS", origin: page + ".evil.example", asks: "POST"},
		{name: "a page without an origin", cors: CORS{Origins: []string{page}}, method: "POST", origin: "null"},
		{name: "all pages", cors: CORS{Origins: []string{page, "*"}}, method: "POST", origin: "https://b.example", allowed: "*"},
		{name: "for a while", cors: CORS{MaxAge: 10 * time.Minute}, method: "OPTIONS", origin: page, asks: "POST", allowed: "*", maxAge: "600"},
		{name: "off", cors: CORS{Disabled: true}, method: "POST", origin: page},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := s.Handler(HTTPOptions{CORS: tt.cors})
			headers := []string{}
			if tt.origin != "" {
				headers = append(headers, "Origin", tt.origin)
			}
			if tt.asks != "" {
				headers = append(headers, "Access-Control-Request-Method", tt.asks)
			}
			if tt.asksFor != "" {
				headers = append(headers, "Access-Control-Request-Headers", tt.asksFor)
			}
			w := ask(h, tt.method, "/api/check/resources", allowed, headers...)
			want := http.StatusOK
			if tt.asks != "" {
				want = http.StatusNoContent
			}
			if w.Code != want {
				t.Errorf("the status is %d, want %d", w.Code, want)
			}
			methods := ""
			if tt.allowed != "" {
				methods = tt.asks
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin": tt.allowed, "Access-Control-Allow-Headers": tt.header,
				"Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": tt.maxAge,
				"Access-Control-Allow-Credentials": "",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if w.Header().Get("Vary") == "" && !tt.cors.Disabled {
				t.Error("caches are not told that the answer hangs on the origin")
			}
		})
	}
}
