package admin

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"edict/api/cerbospb"
	"edict/api/internal/refusal"
	"edict/engine/policy"
)

// A filter is what a request says of the policies that it is about. Disabled ones
// are in no store, whatever it says of them.
type filter interface {
	GetNameRegexp() string
	GetScopeRegexp() string
	GetVersionRegexp() string
	GetPolicyId() []string
}

// longestRegexp bounds regular expressions, in bytes.
const longestRegexp = 1024

// chosen gives the policies that a filter lets through, in the order of their
// ids.
func chosen(store *Store, f filter) ([]stored, error) {
	if err := checkChoice(f.GetPolicyId()); err != nil {
		return nil, err
	}
	var patterns [3]*regexp.Regexp
	for i, p := range [3]struct{ name, text string }{
		{"name_regexp", f.GetNameRegexp()}, {"scope_regexp", f.GetScopeRegexp()}, {"version_regexp", f.GetVersionRegexp()},
	} {
		if p.text == "" {
			continue
		}
		wrong := status.Error(codes.InvalidArgument, fmt.Sprintf("%s is not a regular expression of up to %d bytes", p.name, longestRegexp))
		if len(p.text) > longestRegexp {
			return nil, wrong
		}
		var err error
		if patterns[i], err = regexp.Compile(p.text); err != nil {
			return nil, wrong
		}
	}
	var out []stored
	for _, p := range store.policies {
		if len(f.GetPolicyId()) > 0 && !slices.Contains(f.GetPolicyId(), p.id) {
			continue
		}
		name, version, scope := identity(p.Policy)
		matches := true
		for i, text := range [3]string{name, scope, version} {
			matches = matches && (patterns[i] == nil || patterns[i].MatchString(text))
		}
		if matches {
			out = append(out, p)
		}
	}
	return out, nil
}

// identity gives what tells a policy from others of its kind. Sets that others
// import have a name alone.
func identity(p *policy.Policy) (name, version, scope string) {
	switch {
	case p.Resource != nil:
		return p.Resource.Resource.Value, p.Resource.Version.Value, p.Resource.Scope.Value
	case p.Principal != nil:
		return p.Principal.Principal.Value, p.Principal.Version.Value, p.Principal.Scope.Value
	case p.Role != nil:
		return p.Role.Role.Value, p.Role.Version.Value, p.Role.Scope.Value
	case p.DerivedRoles != nil:
		return p.DerivedRoles.Name.Value, "", ""
	case p.ExportVariables != nil:
		return p.ExportVariables.Name.Value, "", ""
	}
	return p.ExportConstants.Name.Value, "", ""
}

// mostChosen is how many policies a filter may name, as with Cerbos.
const mostChosen = 25

// checkChoice looks at the ids of a filter, which are few and not empty.
func checkChoice(ids []string) error {
	var v refusal.Violations
	at := refusal.Place{Number: 5, Name: "policy_id", Text: true}
	if len(ids) > mostChosen {
		v.Add(&at, refusal.AtMost(mostChosen))
	}
	checkItems(&v, at, ids)
	return v.Err()
}

// checkIDs looks at the ids of what is asked for, of which there is one at least, and
// which are different and not empty.
func checkIDs(ids []string) error {
	var v refusal.Violations
	at := refusal.Place{Number: 1, Name: "id", Text: true}
	if len(ids) == 0 {
		v.Add(&at, refusal.Required())
	}
	checkItems(&v, at, ids)
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		seen[id] = true
	}
	if len(seen) < len(ids) {
		v.Add(&at, refusal.Unique())
	}
	return v.Err()
}

// checkItems looks for ids that are empty.
func checkItems(v *refusal.Violations, at refusal.Place, ids []string) {
	for i, id := range ids {
		if id == "" {
			item := at.At(i)
			v.Add(&item, refusal.Item())
		}
	}
}

func listPolicies(_ context.Context, store *Store, in *cerbospb.ListPoliciesRequest) (*cerbospb.ListPoliciesResponse, error) {
	list, err := chosen(store, in)
	if err != nil {
		return nil, err
	}
	out := new(cerbospb.ListPoliciesResponse)
	for _, p := range list {
		out.PolicyIds = append(out.PolicyIds, p.id)
	}
	return out, nil
}

func getPolicy(_ context.Context, store *Store, in *cerbospb.GetPolicyRequest) (*cerbospb.GetPolicyResponse, error) {
	if err := checkIDs(in.GetId()); err != nil {
		return nil, err
	}
	out := new(cerbospb.GetPolicyResponse)
	for _, id := range in.GetId() {
		i, found := slices.BinarySearchFunc(store.policies, id, func(p stored, id string) int { return strings.Compare(p.id, id) })
		if !found {
			return nil, status.Error(codes.Internal, "could not get policy")
		}
		p, err := messageOf(store.policies[i])
		if err != nil {
			return nil, err
		}
		out.Policies = append(out.Policies, p)
	}
	return out, nil
}

func listSchemas(_ context.Context, store *Store, _ *cerbospb.ListSchemasRequest) (*cerbospb.ListSchemasResponse, error) {
	return &cerbospb.ListSchemasResponse{SchemaIds: slices.Sorted(maps.Keys(store.schemas))}, nil
}

func getSchema(_ context.Context, store *Store, in *cerbospb.GetSchemaRequest) (*cerbospb.GetSchemaResponse, error) {
	if err := checkIDs(in.GetId()); err != nil {
		return nil, err
	}
	out := new(cerbospb.GetSchemaResponse)
	for _, id := range in.GetId() {
		definition, ok := store.schemas[id]
		if !ok {
			return nil, status.Error(codes.Internal, "could not get the schema with id "+refusal.Clip(id))
		}
		out.Schemas = append(out.Schemas, &cerbospb.Schema{Id: id, Definition: definition})
	}
	return out, nil
}
