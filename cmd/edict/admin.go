package main

import (
	"encoding/json"
	"net/http"

	"edict/extauthz"
)

// newAdmin gives the endpoints for whoever runs Edict: whether the process is
// alive, and whether it has policies and takes requests. Missing lists issuers
// whose keys it lacks; required says that it is not ready as long as there are
// any.
func newAdmin(server *extauthz.Server, serving func() bool, missing func() []string, required bool) http.Handler {
	type status struct {
		Status   string `json:"status"`
		Reason   string `json:"reason,omitempty"`
		Revision string `json:"revision,omitempty"`
		Policies int    `json:"policies,omitempty"`
		Routes   int    `json:"routes,omitempty"`

		MissingKeys []string `json:"missingKeys,omitempty"`
	}
	answer := func(w http.ResponseWriter, code int, s status) {
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(s) // the client is gone if this fails
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, status{Status: "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := server.Revision()
		lacks := missing()
		switch {
		case r == nil:
			answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Reason: "no policies are loaded"})
		case !serving():
			answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Reason: "shutting down", Revision: r.ID()})
		case required && len(lacks) > 0:
			answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Reason: "keys of issuers are missing", Revision: r.ID(), MissingKeys: lacks})
		default:
			answer(w, http.StatusOK, status{Status: "ready", Revision: r.ID(), Policies: r.Policies(), Routes: r.Routes(), MissingKeys: lacks})
		}
	})
	return mux
}
