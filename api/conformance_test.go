package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/conformance"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

// newCerbos gives a server with the policies and settings of the conformance data
// in server/.
func newCerbos(t *testing.T) *Server {
	t.Helper()
	dir := conformance.Dir(t)
	store, list := policyfile.ReadFolder(os.DirFS(filepath.Join(dir, "store")), "")
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	policies, list := policyfile.ParseAll(store.Policies)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	compiler, err := engine.NewCompiler(engine.Options{LenientEvaluation: true, SchemaEnforcement: engine.SchemaReject})
	if err != nil {
		t.Fatal(err)
	}
	ps, list := compiler.Compile(policies, schema.New(store.SchemaContents()))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	v, err := auxdata.New(t.Context(), auxdata.Options{KeySets: []auxdata.KeySet{{
		ID: "cerbos", Local: &auxdata.Local{File: filepath.Join(dir, "auxdata", "verify_key.jwk")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return &Server{
		Policies: func() *engine.PolicySet { return ps }, AuxData: v,
		Limits:   Limits{Actions: 5, Resources: 5, Message: 4 << 20},
		Panicked: func(v any, stack []byte) { t.Errorf("a panic: %v\n%s", v, stack) },
	}
}

// A serverCase is one file of server/.
type serverCase struct {
	Description string
	WantError   bool
	WantStatus  struct {
		HTTPStatusCode int
		GRPCStatusCode codes.Code
	}
	CheckResources, CheckResourceSet, CheckResourceBatch, PlanResources *struct {
		Input, WantResponse json.RawMessage
	}
}

// The cases of Cerbos' own server are answered as there, over HTTP and gRPC.
func TestConformance(t *testing.T) {
	s := newCerbos(t)
	h, conn := s.Handler(HTTPOptions{}), dial(t, s)
	for _, dir := range []string{"server/checks/check_resources", "server/checks/check_resource_set", "server/checks/check_resource_batch", "server/plan_resources"} {
		files, err := filepath.Glob(filepath.Join(conformance.Dir(t), dir, "*.yaml"))
		if err != nil || len(files) != conformance.Count(t, dir) {
			t.Errorf("%s has %d cases, want %d, %v", dir, len(files), conformance.Count(t, dir), err)
		}
		for _, file := range files {
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				var c serverCase
				readYAML(t, file, &c)
				call, x := "CheckResources", c.CheckResources
				switch {
				case c.CheckResourceSet != nil:
					call, x = "CheckResourceSet", c.CheckResourceSet
				case c.CheckResourceBatch != nil:
					call, x = "CheckResourceBatch", c.CheckResourceBatch
				case c.PlanResources != nil:
					call, x = "PlanResources", c.PlanResources
				}
				method := methodOf(t, call)
				out := newMessage(t, method.Output())
				code, err := overHTTP(t, h, paths[call], string(x.Input), out)
				if code != c.WantStatus.HTTPStatusCode {
					t.Errorf("the HTTP status is %d, want %d", code, c.WantStatus.HTTPStatusCode)
				}
				c.judge(t, x.WantResponse, out, err)
				in, out := newMessage(t, method.Input()), newMessage(t, method.Output())
				if err := protojson.Unmarshal(x.Input, in); err != nil {
					if !c.WantError {
						t.Fatal(err)
					}
					return // it can't be said over gRPC
				}
				c.judge(t, x.WantResponse, out, conn.Invoke(t.Context(), "/"+ServiceName+"/"+call, in, out))
			})
		}
	}
}

func (c *serverCase) judge(t *testing.T, response []byte, out proto.Message, err error) {
	t.Helper()
	if code := status.Code(err); code != c.WantStatus.GRPCStatusCode || c.WantError != (err != nil) {
		t.Errorf("got %v, want the code %s", err, c.WantStatus.GRPCStatusCode)
	}
	if c.WantError || err != nil {
		return
	}
	want := newMessage(t, out.ProtoReflect().Descriptor())
	if err := protojson.Unmarshal(response, want); err != nil {
		t.Fatal(err)
	}
	if field := out.ProtoReflect().Descriptor().Fields().ByName("cerbos_call_id"); field != nil {
		if !ulid.MatchString(out.ProtoReflect().Get(field).String()) {
			t.Errorf("the call id is %q", out.ProtoReflect().Get(field))
		}
		out.ProtoReflect().Clear(field)
	}
	inOrder(want.ProtoReflect())
	inOrder(out.ProtoReflect())
	if !proto.Equal(out, want) {
		t.Errorf("got\n%s\nwant\n%s", protojson.Format(out), protojson.Format(want))
	}
}

// inOrder puts what may be in any order into one: validation errors, derived
// roles, and operands of operators that do not care.
func inOrder(m protoreflect.Message) {
	switch x := m.Interface().(type) {
	case *cerbospb.PlanResourcesFilter_Expression:
		for _, o := range x.GetOperands() {
			inOrder(o.ProtoReflect())
		}
		if slices.Contains([]string{"and", "or", "eq", "ne", "add", "mult"}, x.GetOperator()) {
			slices.SortFunc(x.GetOperands(), func(a, b *cerbospb.PlanResourcesFilter_Expression_Operand) int {
				return strings.Compare(a.String(), b.String())
			})
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Name() == "effective_derived_roles" || field.Name() == "validation_errors":
			list := v.List()
			var items []protoreflect.Value
			for i := range list.Len() {
				items = append(items, list.Get(i))
			}
			slices.SortFunc(items, func(a, b protoreflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for i := range items {
				list.Set(i, items[i])
			}
		case field.IsMap() && field.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { inOrder(v.Message()); return true })
		case field.IsList() && field.Message() != nil:
			for i := range v.List().Len() {
				inOrder(v.List().Get(i).Message())
			}
		case !field.IsList() && !field.IsMap() && field.Message() != nil:
			inOrder(v.Message())
		}
		return true
	})
}
