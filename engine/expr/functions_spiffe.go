package expr

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The types of SPIFFE have the names that conditions in the Cerbos format know
// them by.
var (
	spiffeIDType          = types.NewObjectType("cerbos.lib.spiffeID", traits.ReceiverType, traits.ComparerType)
	spiffeTrustDomainType = types.NewObjectType("cerbos.lib.spiffeTrustDomain", traits.ReceiverType, traits.ComparerType)
	spiffeMatcherType     = types.NewObjectType("cerbos.lib.spiffeMatcher", traits.ReceiverType)
)

// spiffeFunctions declares SPIFFE IDs, trust domains and what matches them.
// Their members have no binding here: cel-go has the value itself answer them,
// by Receive. Only id() of a trust domain never gets there, as there is a
// function id that answers first, with its argument.
func spiffeFunctions() []cel.EnvOption {
	member := func(name, overload string, result *cel.Type, args ...*cel.Type) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload(overload, args, result))
	}
	unary := func(name, overload string, arg, result *cel.Type, f func(ref.Val) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.Overload(overload, []*cel.Type{arg}, result, cel.UnaryBinding(f)))
	}
	return []cel.EnvOption{
		unary("spiffeID", "spiffeID_string", cel.StringType, spiffeIDType, toSPIFFEID),
		unary("spiffeTrustDomain", "spiffeTrustDomain_string", cel.StringType, spiffeTrustDomainType, toSPIFFETrustDomain),
		cel.Function("spiffeMatchAny", cel.Overload("spiffeMatchAny", nil, spiffeMatcherType,
			cel.FunctionBinding(func(...ref.Val) ref.Val { return spiffeMatcher{spiffeid.MatchAny()} }))),
		unary("spiffeMatchExact", "spiffeMatchExact_spiffeID", spiffeIDType, spiffeMatcherType, matchExact),
		unary("spiffeMatchExact", "spiffeMatchExact_string", cel.StringType, spiffeMatcherType, matchExact),
		unary("spiffeMatchOneOf", "spiffeMatchOneOf_spiffeIDs", cel.ListType(spiffeIDType), spiffeMatcherType, matchOneOf),
		unary("spiffeMatchOneOf", "spiffeMatchOneOf_strings", cel.ListType(cel.StringType), spiffeMatcherType, matchOneOf),
		unary("spiffeMatchTrustDomain", "spiffeMatchTrustDomain_spiffeTrustDomain", spiffeTrustDomainType, spiffeMatcherType, matchTrustDomain),
		unary("spiffeMatchTrustDomain", "spiffeMatchTrustDomain_string", cel.StringType, spiffeMatcherType, matchTrustDomain),
		member("isMemberOf", "spiffeID_isMemberOf", cel.BoolType, spiffeIDType, spiffeTrustDomainType),
		member("path", "spiffeID_path", cel.StringType, spiffeIDType),
		member("trustDomain", "spiffeID_trustDomain", spiffeTrustDomainType, spiffeIDType),
		member("id", "spiffeTrustDomain_id", cel.StringType, spiffeTrustDomainType),
		member("name", "spiffeTrustDomain_name", cel.StringType, spiffeTrustDomainType),
		member("matchesID", "spiffeMatcher_matchesID_spiffeID", cel.BoolType, spiffeMatcherType, spiffeIDType),
		member("matchesID", "spiffeMatcher_matchesID_string", cel.BoolType, spiffeMatcherType, cel.StringType),
	}
}

// toSPIFFEID makes an ID of text.
func toSPIFFEID(v ref.Val) ref.Val {
	switch t := v.(type) {
	case spiffeID:
		return t
	case types.String:
		id, err := spiffeid.FromString(string(t))
		if err != nil {
			return types.NewErr("failed to parse SPIFFE ID: %v", err)
		}
		return spiffeID{id}
	}
	return types.MaybeNoSuchOverloadErr(v)
}

// toSPIFFETrustDomain makes a trust domain of its name, or of the text of an ID
// in it.
func toSPIFFETrustDomain(v ref.Val) ref.Val {
	switch t := v.(type) {
	case spiffeTrustDomain:
		return t
	case types.String:
		domain, err := spiffeid.TrustDomainFromString(string(t))
		if err != nil {
			return types.NewErr("failed to parse SPIFFE trust domain: %v", err)
		}
		return spiffeTrustDomain{domain}
	}
	return types.MaybeNoSuchOverloadErr(v)
}

func matchExact(v ref.Val) ref.Val {
	id, ok := toSPIFFEID(v).(spiffeID)
	if !ok {
		return toSPIFFEID(v)
	}
	return spiffeMatcher{spiffeid.MatchID(id.id)}
}

func matchTrustDomain(v ref.Val) ref.Val {
	domain, ok := toSPIFFETrustDomain(v).(spiffeTrustDomain)
	if !ok {
		return toSPIFFETrustDomain(v)
	}
	return spiffeMatcher{spiffeid.MatchMemberOf(domain.domain)}
}

// matchOneOf takes a list of IDs and of their texts.
func matchOneOf(v ref.Val) ref.Val {
	l, ok := v.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	texts, err := textsOf(l)
	if err != nil {
		return types.MaybeNoSuchOverloadErr(v)
	}
	ids := make([]spiffeid.ID, len(texts))
	for i, text := range texts {
		if ids[i], err = spiffeid.FromString(text); err != nil {
			return types.MaybeNoSuchOverloadErr(v)
		}
	}
	return spiffeMatcher{spiffeid.MatchOneOf(ids...)}
}

// A spiffeID is a SPIFFE ID.
type spiffeID struct{ id spiffeid.ID }

var _ traits.Receiver = spiffeID{}

// Receive implements traits.Receiver: the members of IDs.
func (s spiffeID) Receive(function, _ string, args []ref.Val) ref.Val {
	switch {
	case function == "isMemberOf" && len(args) == 1:
		domain, ok := args[0].(spiffeTrustDomain)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return types.Bool(s.id.MemberOf(domain.domain))
	case function == "path" && len(args) == 0:
		return types.String(s.id.Path())
	case function == "trustDomain" && len(args) == 0:
		return spiffeTrustDomain{s.id.TrustDomain()}
	}
	return types.NoSuchOverloadErr()
}

// Equal implements ref.Val: an ID equals IDs and, on its right, their text.
func (s spiffeID) Equal(other ref.Val) ref.Val {
	switch o := other.(type) {
	case spiffeID:
		return types.Bool(s.id == o.id)
	case types.String:
		return types.Bool(s.id.String() == string(o))
	}
	return types.MaybeNoSuchOverloadErr(other)
}

// ConvertToNative implements ref.Val.
func (s spiffeID) ConvertToNative(t reflect.Type) (any, error) {
	return textual(s, s.id.String(), t)
}

// ConvertToType implements ref.Val.
func (s spiffeID) ConvertToType(t ref.Type) ref.Val {
	return convertTextual(s, s.id.String(), t)
}

// Type implements ref.Val.
func (s spiffeID) Type() ref.Type { return spiffeIDType }

// Value implements ref.Val.
func (s spiffeID) Value() any { return s.id }

// A spiffeTrustDomain is a trust domain of SPIFFE.
type spiffeTrustDomain struct{ domain spiffeid.TrustDomain }

var (
	_ traits.Receiver = spiffeTrustDomain{}
	_ traits.Comparer = spiffeTrustDomain{}
)

// Receive implements traits.Receiver: the members of trust domains.
func (s spiffeTrustDomain) Receive(function, _ string, args []ref.Val) ref.Val {
	if function == "name" && len(args) == 0 {
		return types.String(s.domain.Name())
	}
	return types.NoSuchOverloadErr()
}

// Equal implements ref.Val: a trust domain equals trust domains and, on its
// right, text that names it or an ID in it.
func (s spiffeTrustDomain) Equal(other ref.Val) ref.Val {
	switch o := other.(type) {
	case spiffeTrustDomain:
		return types.Bool(s.domain == o.domain)
	case types.String:
		domain, err := spiffeid.TrustDomainFromString(string(o))
		return types.Bool(err == nil && s.domain == domain)
	}
	return types.MaybeNoSuchOverloadErr(other)
}

// Compare implements traits.Comparer. The order is that of the names reversed,
// as it is in Cerbos.
func (s spiffeTrustDomain) Compare(other ref.Val) ref.Val {
	domain, ok := toSPIFFETrustDomain(other).(spiffeTrustDomain)
	if !ok {
		return toSPIFFETrustDomain(other)
	}
	return types.Int(domain.domain.Compare(s.domain))
}

// ConvertToNative implements ref.Val.
func (s spiffeTrustDomain) ConvertToNative(t reflect.Type) (any, error) {
	return textual(s, s.domain.Name(), t)
}

// ConvertToType implements ref.Val.
func (s spiffeTrustDomain) ConvertToType(t ref.Type) ref.Val {
	return convertTextual(s, s.domain.Name(), t)
}

// Type implements ref.Val.
func (s spiffeTrustDomain) Type() ref.Type { return spiffeTrustDomainType }

// Value implements ref.Val.
func (s spiffeTrustDomain) Value() any { return s.domain }

// A spiffeMatcher tells which IDs it matches.
type spiffeMatcher struct{ match spiffeid.Matcher }

var _ traits.Receiver = spiffeMatcher{}

// Receive implements traits.Receiver: the member of matchers.
func (s spiffeMatcher) Receive(function, _ string, args []ref.Val) ref.Val {
	if function != "matchesID" || len(args) != 1 {
		return types.NoSuchOverloadErr()
	}
	switch t := args[0].(type) {
	case spiffeID:
		return types.Bool(s.match(t.id) == nil)
	case types.String:
		id, err := spiffeid.FromString(string(t))
		if err != nil {
			return types.NewErr("invalid SPIFFE ID: %v", err)
		}
		return types.Bool(s.match(id) == nil)
	}
	return types.MaybeNoSuchOverloadErr(args[0])
}

// Equal implements ref.Val: a matcher equals nothing, not even itself.
func (s spiffeMatcher) Equal(ref.Val) ref.Val { return types.False }

// ConvertToNative implements ref.Val.
func (s spiffeMatcher) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(s).AssignableTo(t) {
		return s, nil
	}
	return nil, fmt.Errorf("unsupported native conversion from %s to '%v'", spiffeMatcherType.TypeName(), t)
}

// ConvertToType implements ref.Val.
func (s spiffeMatcher) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return spiffeMatcherType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", spiffeMatcherType, t)
}

// Type implements ref.Val.
func (s spiffeMatcher) Type() ref.Type { return spiffeMatcherType }

// Value implements ref.Val.
func (s spiffeMatcher) Value() any { return s.match }
