package authzen

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api/apidoc"
	"edict/api/authzenpb"
)

// Operations describes the calls over HTTP.
func Operations() []apidoc.Operation {
	methods := authzenpb.File_authzen_authorization_v1_svc_proto.Services().ByName("AuthorizationService").Methods()
	var out []apidoc.Operation
	for _, o := range []struct {
		name                  protoreflect.Name
		method, path, summary string
	}{
		{"Metadata", "GET", MetadataPath, "Tell where the calls of AuthZEN are"},
		{"AccessEvaluation", "POST", EvaluationPath, "Tell whether a subject may perform an action on a resource"},
		{"AccessEvaluationBatch", "POST", EvaluationsPath, "Tell of several evaluations whether they are allowed"},
	} {
		m := methods.ByName(o.name)
		out = append(out, apidoc.Operation{
			Method: o.method, Path: o.path, ID: "AuthorizationService_" + string(o.name), Tag: "AuthorizationService", Summary: o.summary,
			In: m.Input(), Out: m.Output(), ProtoNames: true, // those of the specification
			Required: map[protoreflect.FullName][]string{
				"authzen.authorization.v1.Subject":                      {"type", "id"},
				"authzen.authorization.v1.Resource":                     {"type", "id"},
				"authzen.authorization.v1.Action":                       {"name"},
				"authzen.authorization.v1.AccessEvaluationRequest":      {"subject", "resource", "action"},
				"authzen.authorization.v1.AccessEvaluationBatchRequest": {"evaluations"},
				"authzen.authorization.v1.AccessEvaluationResponse":     {"decision"},
			},
		})
	}
	return out
}
