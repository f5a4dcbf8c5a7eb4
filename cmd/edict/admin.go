package main

import (
	"encoding/json"
	"net/http"

	"edict/extauthz"
)

// newAdmin gives the endpoints for whoever runs Edict: whether the process is
// alive, and whether it has policies and takes requests.
func newAdmin(server *extauthz.Server, serving func() bool) http.Handler {
	type status struct {
		Status   string `json:"status"`
		Reason   string `json:"reason,omitempty"`
		Revision string `json:"revision,omitempty"`
		Policies int    `json:"policies,omitempty"`
		Routes   int    `json:"routes,omitempty"`
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
		switch {
		case r == nil:
			answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Reason: "no policies are loaded"})
		case !serving():
			answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Reason: "shutting down", Revision: r.ID()})
		default:
			answer(w, http.StatusOK, status{Status: "ready", Revision: r.ID(), Policies: r.Policies(), Routes: r.Routes()})
		}
	})
	return mux
}
