package admin

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api/apidoc"
	"edict/api/cerbospb"
)

// Operations describes the calls over HTTP.
func Operations() []apidoc.Operation {
	methods := cerbospb.File_cerbos_svc_v1_svc_proto.Services().ByName("CerbosAdminService").Methods()
	var out []apidoc.Operation
	for _, o := range []struct {
		name          protoreflect.Name
		path, summary string
	}{
		{"InspectPolicies", "/admin/policies/inspect", "Tell what policies are about"},
		{"ListPolicies", "/admin/policies", "List the ids of policies"},
		{"GetPolicy", "/admin/policy", "Get policies by their ids"},
		{"ListSchemas", "/admin/schemas", "List the ids of schemas"},
		{"GetSchema", "/admin/schema", "Get schemas by their ids"},
	} {
		m := methods.ByName(o.name)
		out = append(out, apidoc.Operation{
			Method: "GET", Path: o.path, ID: "CerbosAdminService_" + string(o.name), Tag: "CerbosAdminService", Summary: o.summary,
			In: m.Input(), Out: m.Output(), Password: true,
			Required: map[protoreflect.FullName][]string{
				"cerbos.request.v1.GetPolicyRequest": {"id"},
				"cerbos.request.v1.GetSchemaRequest": {"id"},
			},
		})
	}
	return out
}
