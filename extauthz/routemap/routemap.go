package routemap

import (
	"edict/engine/diag"
	"edict/engine/value"
)

// APIVersion is the only apiVersion there is.
const APIVersion = "edict.dev/v1"

// A File is one route map.
type File struct {
	Pos       diag.Position
	Name      diag.Text
	Hosts     []diag.Text // of every route that names none; empty: any host
	Principal Principal   // added to the principal of every route
	OnAllow   *OnAllow    // of every route, which may add to it; nil: nothing
	OnDeny    *OnDeny     // of every route, for what it says nothing about; nil: nothing
	Routes    []Route     // with the other defaults of the file filled in

	Connections []Connection

	// Source holds the lines of the file, for diagnostics to show.
	Source []string
}

// Line gives line n of the file, counted from 1, or "".
func (f *File) Line(n int) string {
	if n < 1 || n > len(f.Source) {
		return ""
	}
	return f.Source[n-1]
}

// A Route says which requests it is for, and what they ask for.
type Route struct {
	Pos       diag.Position
	Name      diag.Text
	Match     Match
	Public    bool // the request passes, whoever asks; there are no Checks
	Plan      bool // the request passes with a filter: there is one Check, whose resource has no ID
	Anonymous bool // the request may come without an identity
	Identity  *Identity
	Accept    *Names
	Body      *Body
	Principal Principal
	Checks    []Check // of a route that is not public at least one; all must be allowed
	OnAllow   *OnAllow
	OnDeny    *OnDeny
}

// A Check is a resource and the actions that a request asks for on it.
type Check struct {
	Pos      diag.Position
	ForEach  *Term // an expression that gives a list: one check of each item; nil: one check
	Resource Resource
	Actions  []Term // never empty; all must be allowed
}

// An Identity names the sources of identity that a Route asks, in their order. A
// Route without one asks all that the configuration has, in the order there.
type Identity struct {
	Pos   diag.Position
	Names []diag.Text // empty: nobody has an identity
}

// A Match says which requests a Route is for: by path template or by gRPC
// method.
type Match struct {
	Pos     diag.Position
	Hosts   []diag.Text // empty: those of the File
	Methods []diag.Text // empty: any method but CONNECT
	Path    diag.Text   // template; empty if GRPC is set
	GRPC    *GRPC
	Headers []Matcher // all must fit, as those of Query
	Query   []Matcher
	Upgrade string // none, websocket or any; empty: none
}

// A Matcher is a condition on a header or on a parameter of the query.
type Matcher struct {
	Name diag.Text
	Kind string    // exact, prefix, suffix, contains, regex, present or absent
	Text diag.Text // that is compared with; of present and absent it has the position alone
}

// A Body says how a Route reads bodies.
type Body struct {
	Pos           diag.Position
	Format        diag.Text   // json, form or grpc; empty: any
	ContentTypes  []diag.Text // of the format, beside its own
	Limit         int         // Envoy's max_request_bytes, in bytes; 0: as configured
	UnknownFields diag.Text   // RefuseUnknown or IgnoreUnknown; empty: the former
}

// What becomes of fields of a message that no descriptor knows.
const (
	RefuseUnknown = "refuse"
	IgnoreUnknown = "ignore"
)

// Names is a list that was given, perhaps an empty one.
type Names struct {
	Pos   diag.Position
	Names []diag.Text
}

// GRPC names the gRPC methods that a Route is for.
type GRPC struct {
	Pos     diag.Position
	Service diag.Text // package.Service
	Method  diag.Text // a method, or * for all
}

// A Principal holds what a route map adds to the principal.
type Principal struct {
	PolicyVersion *Term
	Scope         *Term
	Attributes    []Attribute
}

// A Resource says what the request is about.
type Resource struct {
	Pos           diag.Position
	Kind          Term
	ID            Term
	PolicyVersion *Term
	Scope         *Term
	Attributes    []Attribute
}

// An Attribute is a named Term.
type Attribute struct {
	Name diag.Text
	Term Term
}

// A Term is a constant, or a CEL expression over the request.
type Term struct {
	Pos      diag.Position
	IsExpr   bool
	Expr     diag.Text   // of an expression
	Constant value.Value // of a constant
}
