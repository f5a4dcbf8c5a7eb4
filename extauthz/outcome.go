package extauthz

import (
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"edict/engine"
	"edict/extauthz/wire"
)

// An Outcome is a way for a check to end. The zero Outcome is a denial.
type Outcome uint8

// The outcomes; outcomes has the answer of each.
const (
	Internal Outcome = iota // a panic, or something that should not happen
	Allowed
	Public
	DeniedByPolicy
	NoRoute
	NoIdentity
	BadToken
	BadIdentity
	BadRequest
	BodyMissing
	BodyMalformed
	BodyIncomplete
	BodyUnsupported
	Unmappable
	BadPin
	NotHTTP
	NotReady
	Timeout

	outcomeCount
)

// outcomes says how each Outcome is told to Envoy and to the client. The table
// in docs/outcomes.md is made from it.
var outcomes = [outcomeCount]struct {
	Label  string // in metadata, logs and metrics
	When   string
	Code   codes.Code
	Status int // HTTP; 0: not for HTTP clients
}{
	Internal:        {"internal", "Edict failed; the failure is in its log", codes.Internal, http.StatusForbidden},
	Allowed:         {"allow", "every action of the route is allowed", codes.OK, http.StatusOK},
	Public:          {"public", "the route is public, so that nobody and nothing is asked", codes.OK, http.StatusOK},
	DeniedByPolicy:  {"deny", "a rule denies, or no rule allows", codes.PermissionDenied, http.StatusForbidden},
	NoRoute:         {"no_route", "no route matches host, method and path", codes.PermissionDenied, http.StatusForbidden},
	NoIdentity:      {"no_identity", "the request has no identity and its route asks for one", codes.Unauthenticated, http.StatusUnauthorized},
	BadToken:        {"bad_token", "the request has a token that nobody verified, or that failed verification", codes.Unauthenticated, http.StatusUnauthorized},
	BadIdentity:     {"bad_identity", "the verified identity has claims of the wrong shape", codes.PermissionDenied, http.StatusForbidden},
	BadRequest:      {"bad_request", "host, method, path, query or headers can be read in more than one way", codes.InvalidArgument, http.StatusBadRequest},
	BodyMissing:     {"body_missing", "the route reads the body, and there is none", codes.InvalidArgument, http.StatusBadRequest},
	BodyMalformed:   {"body_malformed", "the route reads the body, and it is not strict JSON", codes.InvalidArgument, http.StatusBadRequest},
	BodyIncomplete:  {"body_incomplete", "the route reads the body, and it may have been cut", codes.InvalidArgument, http.StatusRequestEntityTooLarge},
	BodyUnsupported: {"body_unsupported", "the route reads the body, and it is not plain JSON", codes.InvalidArgument, http.StatusUnsupportedMediaType},
	Unmappable:      {"unmappable", "an expression of the route can't be evaluated for this request", codes.PermissionDenied, http.StatusForbidden},
	BadPin:          {"bad_pin", "Envoy's configuration has a context extension `edict.*` that can't be followed", codes.FailedPrecondition, http.StatusForbidden},
	NotHTTP:         {"not_http", "the check is not about an HTTP request", codes.InvalidArgument, http.StatusForbidden},
	NotReady:        {"not_ready", "no policies are loaded", codes.Unavailable, http.StatusServiceUnavailable},
	Timeout:         {"timeout", "Envoy's deadline passed before there was a decision", codes.DeadlineExceeded, http.StatusForbidden},
}

// String gives the label of the outcome.
func (o Outcome) String() string {
	if o >= outcomeCount {
		o = Internal
	}
	return outcomes[o].Label
}

// Passes tells whether the request goes on to the upstream.
func (o Outcome) Passes() bool { return o == Allowed || o == Public }

// Status gives the HTTP status that the client sees; of an outcome that passes,
// it is 200 and the upstream answers instead.
func (o Outcome) Status() int {
	if o >= outcomeCount {
		o = Internal
	}
	return outcomes[o].Status
}

// answers are the denials of one Revision, prepared: one per outcome, in a form
// for HTTP clients and in one for gRPC clients.
type answers struct {
	http, grpc [outcomeCount]wire.Response
}

func prepareAnswers(revision string, o Options) *answers {
	a := new(answers)
	for i := range outcomeCount {
		if i.Passes() {
			continue
		}
		row := outcomes[i]
		var challenge []wire.HeaderValue
		switch i {
		case NoIdentity:
			challenge = []wire.HeaderValue{{Name: "www-authenticate", Value: o.Challenge}}
		case BadToken:
			challenge = []wire.HeaderValue{{Name: "www-authenticate", Value: invalidToken(o.Challenge)}}
		}
		metadata := []wire.MetadataValue{
			{Key: "effect", Value: "deny"}, {Key: "reason", Value: row.Label}, {Key: "revision", Value: revision},
		}
		title := http.StatusText(row.Status)
		a.http[i] = wire.Denied(int32(row.Code), int32(row.Status),
			append([]wire.HeaderValue{{Name: "content-type", Value: "application/problem+json"}}, challenge...),
			fmt.Sprintf(`{"title":%q,"status":%d}`, title, row.Status)+"\n", metadata)
		a.grpc[i] = wire.Denied(int32(row.Code), int32(row.Status), challenge, strings.ToLower(title), metadata)
	}
	return a
}

// invalidToken adds to a Bearer challenge that the token is the reason
// (RFC 6750 §3.1).
func invalidToken(challenge string) string {
	scheme, params, _ := strings.Cut(challenge, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return challenge
	}
	if params != "" {
		return challenge + `, error="invalid_token"`
	}
	return challenge + ` error="invalid_token"`
}

// A Record is what became of one check, for whoever observes. It is valid only
// while Observe runs.
type Record struct {
	Outcome   Outcome
	Detail    string // which of the ways to end so, without anything the client sent
	Err       error  // of Internal, Unmappable, BadIdentity and what is wrong with a body
	Route     string // name of the route map and route, "" if none matched
	Principal string // id, "" if there is none
	Source    Provenance
	Kind      string           // of the resource of that check
	Resource  string           // its id
	Decision  *engine.Decision // on the check that settles the request; nil if the engine was not asked
	Revision  string
	RequestID string // x-request-id
	Method    string
	Path      string // as received, query excluded
}
