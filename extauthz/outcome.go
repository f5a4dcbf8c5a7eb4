package extauthz

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"edict/engine"
	"edict/engine/value"
	"edict/extauthz/wire"
)

// An Outcome is a way for a check to end. The zero Outcome is a denial.
type Outcome uint8

// The outcomes; outcomes has the answer of each.
const (
	Internal Outcome = iota // a panic, or something that should not happen
	Allowed
	Public
	Planned
	DeniedByPolicy
	NoRoute
	NoIdentity
	BadToken
	KeysUnavailable
	BadIdentity
	BadRequest
	BodyMissing
	BodyMalformed
	BodyIncomplete
	BodyUnsupported
	Unmappable
	Unplannable
	BadAnswer
	BadPin
	NotHTTP
	NotReady
	Timeout
	TooLarge
	Overloaded

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
	Planned:         {"planned", "the route is planned, and the request carries the filter of what may be seen", codes.OK, http.StatusOK},
	DeniedByPolicy:  {"deny", "a rule denies, or no rule allows", codes.PermissionDenied, http.StatusForbidden},
	NoRoute:         {"no_route", "no route matches host, method and path, or server name and port of a connection", codes.PermissionDenied, http.StatusForbidden},
	NoIdentity:      {"no_identity", "the request has no identity and its route asks for one", codes.Unauthenticated, http.StatusUnauthorized},
	BadToken:        {"bad_token", "the request has a token that nobody verified, or that failed verification", codes.Unauthenticated, http.StatusUnauthorized},
	KeysUnavailable: {"keys_unavailable", "the keys that the request's token is verified with can't be had", codes.Unavailable, http.StatusServiceUnavailable},
	BadIdentity:     {"bad_identity", "the verified identity has claims of the wrong shape", codes.PermissionDenied, http.StatusForbidden},
	BadRequest:      {"bad_request", "host, method, path, query or headers can be read in more than one way", codes.InvalidArgument, http.StatusBadRequest},
	BodyMissing:     {"body_missing", "the route reads the body, and there is none", codes.InvalidArgument, http.StatusBadRequest},
	BodyMalformed:   {"body_malformed", "the route reads the body, and it breaks the rules of its format", codes.InvalidArgument, http.StatusBadRequest},
	BodyIncomplete:  {"body_incomplete", "the route reads the body, and it may have been cut", codes.InvalidArgument, http.StatusRequestEntityTooLarge},
	BodyUnsupported: {"body_unsupported", "the route reads the body, and it is in no format that the route reads", codes.InvalidArgument, http.StatusUnsupportedMediaType},
	Unmappable:      {"unmappable", "an expression of the route can't be evaluated for this request", codes.PermissionDenied, http.StatusForbidden},
	Unplannable:     {"unplannable", "the route is planned, and there is no safe filter, or none that can be sent", codes.PermissionDenied, http.StatusForbidden},
	BadAnswer:       {"bad_answer", "every action is allowed, but an expression of onAllow fails, or what it gives can't be sent", codes.PermissionDenied, http.StatusForbidden},
	BadPin:          {"bad_pin", "Envoy's configuration has a context extension `edict.*` that can't be followed", codes.FailedPrecondition, http.StatusForbidden},
	NotHTTP:         {"not_http", "the check is about a connection, and no route map has any", codes.InvalidArgument, http.StatusForbidden},
	NotReady:        {"not_ready", "no policies are loaded", codes.Unavailable, http.StatusServiceUnavailable},
	Timeout:         {"timeout", "Envoy's deadline passed before there was a decision", codes.DeadlineExceeded, http.StatusForbidden},
	TooLarge:        {"too_large", "the check is longer than `limits.messageBytes`", codes.ResourceExhausted, http.StatusRequestEntityTooLarge},
	Overloaded:      {"overloaded", "`limits.inFlight` checks are being answered already", codes.Unavailable, http.StatusServiceUnavailable},
}

// String gives the label of the outcome.
func (o Outcome) String() string {
	if o >= outcomeCount {
		o = Internal
	}
	return outcomes[o].Label
}

// Passes tells whether the request goes on to the upstream.
func (o Outcome) Passes() bool { return o == Allowed || o == Public || o == Planned }

// OutcomeLabels gives the labels of all outcomes.
func OutcomeLabels() []string {
	out := make([]string, len(outcomes))
	for i := range outcomes {
		out[i] = outcomes[i].Label
	}
	return out
}

// Status gives the HTTP status that the client sees; of an outcome that passes,
// it is 200 and the upstream answers instead.
func (o Outcome) Status() int {
	if o >= outcomeCount {
		o = Internal
	}
	return outcomes[o].Status
}

// A form is a way to write a denial.
type form uint8

const (
	formProblem form = iota // problem details (RFC 9457)
	formText
	formHTML
	formGRPC // for gRPC clients

	formCount
)

// mediaTypes are the content types of the forms. A gRPC client is sent none: the
// body becomes the message of its status.
var mediaTypes = [formCount]string{
	formProblem: "application/problem+json",
	formText:    "text/plain; charset=utf-8",
	formHTML:    "text/html; charset=utf-8",
}

// answers are the denials of one Revision, prepared in every form.
type answers [formCount][outcomeCount]wire.Response

func prepareAnswers(revision string, o *Options, names *metadataNames) *answers {
	a := new(answers)
	for i := range outcomeCount {
		if i.Passes() {
			continue
		}
		metadata := names.prepared("deny", outcomes[i].Label, revision)
		for f := range formCount {
			status := outcomes[i].Status
			a[f][i] = wire.Denied(int32(outcomes[i].Code), int32(status), denialHeaders(f, i, status, o), plainBody(f, status), metadata)
		}
	}
	return a
}

// denialHeaders gives the headers of every denial: what it is, that it must not
// be kept for others, and to a client without valid credentials which to bring.
func denialHeaders(f form, o Outcome, status int, options *Options) []wire.HeaderValue {
	out := make([]wire.HeaderValue, 0, 4)
	if f == formGRPC {
		// Envoy would make one of the HTTP status, and 13 (INTERNAL) of a 400.
		code := outcomes[o].Code
		if status != outcomes[o].Status {
			code = grpcCode(status)
		}
		out = append(out, wire.HeaderValue{Name: "grpc-status", Value: strconv.Itoa(int(code))})
	} else {
		out = append(out,
			wire.HeaderValue{Name: "content-type", Value: mediaTypes[f]},
			wire.HeaderValue{Name: "cache-control", Value: "no-store"},
			wire.HeaderValue{Name: "x-content-type-options", Value: "nosniff"})
	}
	if status == http.StatusUnauthorized {
		challenge := options.Challenge
		if o == BadToken {
			challenge = invalidToken(challenge)
		}
		out = append(out, wire.HeaderValue{Name: "www-authenticate", Value: challenge})
	}
	return out
}

// grpcCode gives the code that google.rpc.Code names for an HTTP status.
func grpcCode(status int) codes.Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusNotFound, http.StatusGone:
		return codes.NotFound
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	if status >= 500 {
		return codes.Internal
	}
	return codes.PermissionDenied
}

// plainBody gives the body of a denial about which nothing more is said.
func plainBody(f form, status int) string {
	title := http.StatusText(status)
	switch f {
	case formProblem:
		return fmt.Sprintf(`{"title":%q,"status":%d}`, title, status) + "\n"
	case formHTML:
		return fmt.Sprintf("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%[1]s</title></head><body><h1>%[1]s</h1></body></html>\n", title)
	case formText:
		return title + "\n"
	default:
		return strings.ToLower(title)
	}
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
	Err       error  // of Internal, Unmappable, Unplannable, BadAnswer, BadIdentity and what is wrong with a body
	Route     string // name of the route map and route, "" if none matched
	Principal string // id, "" if there is none
	Source    Provenance
	Identity  string           // name of the source of the identity, "" if there is none
	Kind      string           // of the resource of that check
	Resource  string           // its id, "" of a plan
	Decision  *engine.Decision // on the check that settles the request; nil if the engine was not asked
	Plan      *engine.Plan     // in place of a decision, of a route with plan: true
	Revision  string
	ID        string // of the decision, as in dynamic metadata
	RequestID string // x-request-id
	Method    string
	Path      string // as received, query excluded
	Check     []byte // the CheckRequest, encoded

	// Verified are the claims of a token that Edict verified itself, and
	// VerifiedBy is the name of the source that did. Nil: there is none.
	Verified   value.Mapping
	VerifiedBy string

	route *route // nil: none matched
}

// Attributes gives the attributes that the route fills, as policies write them,
// with the provenance of each. All other attributes of the principal are of the
// provenance of the identity, Source.
func (r *Record) Attributes(yield func(name string, p Provenance) bool) {
	if r.route == nil {
		return
	}
	for i := range r.route.filled {
		f := &r.route.filled[i]
		if !yield(f.name, f.origin.of(r.Source)) {
			return
		}
	}
}
