package authzen

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api/authzenpb"
	"edict/api/cerbospb"
	"edict/engine/auxdata"
)

// Keys of properties and contexts that say what AuthZEN has no place for.
const (
	rolesKey       = "cerbos.roles"
	versionKey     = "cerbos.policyVersion"
	scopeKey       = "cerbos.scope"
	requestIDKey   = "cerbos.requestId"
	includeMetaKey = "cerbos.includeMeta"
	auxDataKey     = "cerbos.auxData"
)

// requestOf gives the request that an evaluation is. Properties are attributes,
// those with a meaning here, too. One of a wrong type has no meaning.
func requestOf(subject *authzenpb.Subject, resource *authzenpb.Resource, action *authzenpb.Action, set settings) *cerbospb.CheckResourcesRequest {
	properties, known := subject.GetProperties(), resource.GetProperties()
	return &cerbospb.CheckResourcesRequest{
		RequestId:   set.requestID,
		IncludeMeta: set.includeMeta,
		AuxData:     set.auxData,
		Principal: &cerbospb.Principal{
			Id: subject.GetId(), Roles: rolesOf(subject), Attr: properties,
			PolicyVersion: properties[versionKey].GetStringValue(), Scope: properties[scopeKey].GetStringValue(),
		},
		Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{
			Actions: []string{action.GetName()},
			Resource: &cerbospb.Resource{
				Kind: resource.GetType(), Id: resource.GetId(), Attr: known,
				PolicyVersion: known[versionKey].GetStringValue(), Scope: known[scopeKey].GetStringValue(),
			},
		}},
	}
}

// rolesOf gives the roles of a subject, of which its type is the only one if its
// properties list none.
func rolesOf(subject *authzenpb.Subject) []string {
	var roles []string
	for _, v := range subject.GetProperties()[rolesKey].GetListValue().GetValues() {
		if role := v.GetStringValue(); role != "" {
			roles = append(roles, role)
		}
	}
	if roles == nil {
		return []string{subject.GetType()}
	}
	return roles
}

// settings are what a context says about how to answer.
type settings struct {
	requestID   string
	includeMeta bool
	auxData     *cerbospb.AuxData // nil: none
}

// readContext reads a context. Keys without a meaning here are left alone.
func readContext(context map[string]*structpb.Value) (settings, error) {
	auxData, ok := auxDataOf(context[auxDataKey])
	if !ok {
		return settings{}, status.Error(codes.InvalidArgument, auxdata.ErrInvalid.Error())
	}
	return settings{
		requestID:   context[requestIDKey].GetStringValue(),
		includeMeta: context[includeMetaKey].GetBoolValue(),
		auxData:     auxData,
	}, nil
}

// auxDataOf reads tokens: jwt, which is none if it is empty, or jwts by their
// names. It is not ok if they are not of the right form.
func auxDataOf(v *structpb.Value) (out *cerbospb.AuxData, ok bool) {
	if absent(v) {
		return nil, true
	}
	members, ok := object(v)
	if !ok {
		return nil, false
	}
	out = new(cerbospb.AuxData)
	if jwt := members["jwt"]; !absent(jwt) {
		token, ok := tokenOf(jwt)
		if !ok {
			return nil, false
		}
		if token.GetToken() != "" {
			out.Jwt = token
		}
	}
	if jwts := members["jwts"]; !absent(jwts) {
		named, ok := object(jwts)
		if !ok {
			return nil, false
		}
		out.Jwts = make(map[string]*cerbospb.AuxData_JWT, len(named))
		for name, v := range named {
			if out.Jwts[name], ok = tokenOf(v); !ok {
				return nil, false
			}
		}
	}
	return out, true
}

func tokenOf(v *structpb.Value) (*cerbospb.AuxData_JWT, bool) {
	members, ok := object(v)
	token, isToken := text(members["token"])
	set, isSet := text(members["key_set_id"])
	return &cerbospb.AuxData_JWT{Token: token, KeySetId: set}, ok && isToken && isSet
}

// absent tells whether a value says nothing.
func absent(v *structpb.Value) bool {
	_, null := v.GetKind().(*structpb.Value_NullValue)
	return v == nil || null
}

// object gives the members of a value that is an object.
func object(v *structpb.Value) (map[string]*structpb.Value, bool) {
	s, ok := v.GetKind().(*structpb.Value_StructValue)
	if !ok {
		return nil, false
	}
	return s.StructValue.GetFields(), true
}

// text gives a value that is a text, or says nothing.
func text(v *structpb.Value) (string, bool) {
	s, ok := v.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return "", absent(v)
	}
	return s.StringValue, true
}
