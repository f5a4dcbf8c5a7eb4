package api

import (
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api/apidoc"
	"edict/api/cerbospb"
)

// required names the fields that rules want, of the messages of all calls.
var required = map[protoreflect.FullName][]string{
	"cerbos.request.v1.CheckResourcesRequest":                {"principal", "resources"},
	"cerbos.request.v1.CheckResourcesRequest.ResourceEntry":  {"actions", "resource"},
	"cerbos.request.v1.PlanResourcesRequest":                 {"principal", "resource"},
	"cerbos.request.v1.CheckResourceSetRequest":              {"principal", "resource", "actions"},
	"cerbos.request.v1.ResourceSet":                          {"kind", "instances"},
	"cerbos.request.v1.CheckResourceBatchRequest":            {"principal", "resources"},
	"cerbos.request.v1.CheckResourceBatchRequest.BatchEntry": {"actions", "resource"},
	"cerbos.request.v1.AuxData.JWT":                          {"token"},
	"cerbos.engine.v1.Principal":                             {"id", "roles"},
	"cerbos.engine.v1.Resource":                              {"kind", "id"},
	"cerbos.engine.v1.PlanResourcesInput.Resource":           {"kind"},
}

// Operations describes the calls over HTTP.
func Operations() []apidoc.Operation {
	methods := cerbospb.File_cerbos_svc_v1_svc_proto.Services().ByName("CerbosService").Methods()
	var out []apidoc.Operation
	for _, o := range []struct {
		name                  protoreflect.Name
		method, path, summary string
		old                   bool
	}{
		{"CheckResources", "POST", "/api/check/resources", "Tell which actions a principal may perform on resources", false},
		{"PlanResources", "POST", "/api/plan/resources", "Tell on which resources of a kind a principal may perform actions", false},
		{"ServerInfo", "GET", "/api/server_info", "Tell which server answers", false},
		{"CheckResourceSet", "POST", "/api/check", "Check the same actions on several resources of a kind; see CheckResources", true},
		{"CheckResourceBatch", "POST", "/api/check_resource_batch", "Check actions on several resources; see CheckResources", true},
	} {
		m := methods.ByName(o.name)
		out = append(out, apidoc.Operation{
			Method: o.method, Path: o.path, ID: "CerbosService_" + string(o.name), Tag: "CerbosService", Summary: o.summary,
			In: m.Input(), Out: m.Output(), Required: required, Deprecated: o.old,
		})
	}
	health := grpc_health_v1.File_grpc_health_v1_health_proto.Services().ByName("Health").Methods().ByName("Check")
	return append(out, apidoc.Operation{
		Method: "GET", Path: "/_cerbos/health", ID: "Health_Check", Tag: "Health", Summary: "Tell whether calls are answered",
		In: health.Input(), Out: health.Output(),
	})
}
