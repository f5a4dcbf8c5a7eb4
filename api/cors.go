package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORS says which pages of other origins browsers let use the API. The zero CORS
// lets all of them, as the API knows no cookies and nobody's password.
type CORS struct {
	Disabled bool // no page of another origin may use it

	// Origins that may use it, like https://app.example.org. None means all.
	Origins []string

	// Headers that requests may have, beside those that browsers always let
	// through. Nil means DefaultCORSHeaders.
	Headers []string

	// MaxAge is how long a browser may remember what it may do. Zero leaves that
	// to the browser.
	MaxAge time.Duration
}

// DefaultCORSHeaders are the headers that requests of pages may have.
var DefaultCORSHeaders = []string{"accept", "content-type", "user-agent", "x-requested-with"}

// corsMethods are the methods that requests of pages may have.
var corsMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// wrap gives a handler that tells browsers who may use another one, as the Fetch
// standard has it (https://fetch.spec.whatwg.org/#http-cors-protocol).
func (c CORS) wrap(h http.Handler) http.Handler {
	if c.Disabled {
		return h
	}
	headers := DefaultCORSHeaders
	if c.Headers != nil {
		headers = nil
		for _, name := range c.Headers {
			headers = append(headers, strings.ToLower(name))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("origin")
		allowed := ""
		switch {
		case origin == "":
		case len(c.Origins) == 0 || slices.Contains(c.Origins, "*"):
			allowed = "*"
		case slices.Contains(c.Origins, strings.ToLower(origin)):
			allowed = origin
		}
		out := w.Header()
		method := r.Header.Get("access-control-request-method")
		if r.Method != http.MethodOptions || method == "" {
			out.Add("Vary", "Origin")
			if allowed != "" {
				out.Set("Access-Control-Allow-Origin", allowed)
			}
			h.ServeHTTP(w, r)
			return
		}
		out.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
		asked := strings.Join(r.Header.Values("access-control-request-headers"), ",")
		if allowed != "" && slices.Contains(corsMethods, method) && allow(headers, asked) {
			out.Set("Access-Control-Allow-Origin", allowed)
			out.Set("Access-Control-Allow-Methods", method)
			if asked != "" {
				out.Set("Access-Control-Allow-Headers", asked)
			}
			if c.MaxAge > 0 {
				out.Set("Access-Control-Max-Age", strconv.Itoa(int(c.MaxAge/time.Second)))
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// allow tells whether all of the headers that are asked for are known.
func allow(headers []string, asked string) bool {
	if asked == "" || slices.Contains(headers, "*") {
		return true
	}
	for name := range strings.SplitSeq(asked, ",") {
		if !slices.Contains(headers, strings.ToLower(strings.TrimSpace(name))) {
			return false
		}
	}
	return true
}
