package apidoc_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/health"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api"
	"edict/api/admin"
	"edict/api/apidoc"
	"edict/api/authzen"
	"edict/api/authzenpb"
	"edict/api/cerbospb"
	"edict/engine"
)

// A schema is a part of a document.
type schema struct {
	Ref                  string `json:"$ref"`
	Type, Format         string
	Enum                 []string
	Properties           map[string]schema
	AdditionalProperties *schema
	Items                *schema
	Required             []string
}

type operation struct {
	OperationID string
	Parameters  []struct {
		Name, In, Type, CollectionFormat string
		Required                         bool
		Schema                           schema
	}
	Responses  map[string]struct{ Schema schema }
	Security   []map[string][]string
	Produces   []string
	Deprecated bool
}

type document struct {
	Swagger     string
	Info        struct{ Title, Version string }
	Paths       map[string]map[string]operation
	Definitions map[string]schema
}

func operations() []apidoc.Operation {
	return append(append(api.Operations(), authzen.Operations()...), admin.Operations()...)
}

func read(t *testing.T) *document {
	t.Helper()
	text, err := apidoc.Document("Edict", "1.2.3", operations())
	if err != nil {
		t.Fatal(err)
	}
	d := new(document)
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	if d.Swagger != "2.0" || d.Info.Title != "Edict" || d.Info.Version != "1.2.3" {
		t.Errorf("the document is %q of %v", d.Swagger, d.Info)
	}
	return d
}

// Every method of every service is there, with its messages, and is answered
// where the document says.
func TestCalls(t *testing.T) {
	d := read(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), 10)
	if err != nil {
		t.Fatal(err)
	}
	server := &api.Server{Policies: func() *engine.PolicySet { return nil }}
	a, err := admin.New(server, func() *admin.Store { return nil }, admin.Credentials{Username: "x", PasswordHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	mounted := a.Handlers()
	for pattern, h := range (&authzen.Server{API: server}).Handlers() {
		mounted[pattern] = h
	}
	h := server.Handler(api.HTTPOptions{Health: health.NewServer(), Mounted: mounted})

	byID := map[string]operation{}
	for path, methods := range d.Paths {
		for method, o := range methods {
			byID[o.OperationID] = o
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(strings.ToUpper(method), path, strings.NewReader("{}")))
			if w.Code == http.StatusNotFound || w.Code == http.StatusNotImplemented {
				t.Errorf("%s %s: got %d %s", method, path, w.Code, w.Body)
			}
			if asked := w.Code == http.StatusUnauthorized; asked != (o.Security != nil) {
				t.Errorf("%s %s: got %d, the document says %v of a password", method, path, w.Code, o.Security)
			}
		}
	}
	found := 0
	for _, f := range []protoreflect.FileDescriptor{cerbospb.File_cerbos_svc_v1_svc_proto, authzenpb.File_authzen_authorization_v1_svc_proto} {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				found++
				o, there := byID[string(s.Name())+"_"+string(m.Name())]
				if !there {
					t.Errorf("there is no %s", m.FullName())
					continue
				}
				if got := o.Responses["200"].Schema.Ref; got != "#/definitions/"+string(m.Output().FullName()) {
					t.Errorf("%s answers %s", m.FullName(), got)
				}
				if got := o.Responses["default"].Schema.Ref; got != "#/definitions/google.rpc.Status" {
					t.Errorf("errors of %s are %s", m.FullName(), got)
				}
				names := map[string]bool{}
				for _, p := range o.Parameters {
					names[p.Name] = true
					if p.In == "body" && p.Schema.Ref != "#/definitions/"+string(m.Input().FullName()) {
						t.Errorf("%s takes %s", m.FullName(), p.Schema.Ref)
					}
				}
				for k := range m.Input().Fields().Len() {
					if name := m.Input().Fields().Get(k).JSONName(); !names["body"] && !names[name] {
						t.Errorf("%s does not take %s", m.FullName(), name)
					}
				}
			}
		}
	}
	if found != 13 || len(byID) != found+1 { // and health
		t.Errorf("there are %d methods and %d operations", found, len(byID))
	}
}

// Every field of every message is there, of the type that its JSON has, and every
// reference leads somewhere.
func TestMessages(t *testing.T) {
	d := read(t)
	var visit func(m protoreflect.MessageDescriptor, protoNames bool)
	seen := map[protoreflect.FullName]bool{}
	one := func(f protoreflect.FieldDescriptor, s *schema, protoNames bool) {
		want := map[protoreflect.Kind]string{
			protoreflect.BoolKind: "boolean", protoreflect.StringKind: "string", protoreflect.EnumKind: "string", protoreflect.BytesKind: "string",
			protoreflect.Uint64Kind: "string", protoreflect.Int64Kind: "string", protoreflect.DoubleKind: "number", protoreflect.Int32Kind: "integer", protoreflect.Uint32Kind: "integer",
		}[f.Kind()]
		switch {
		case s == nil:
			t.Errorf("nothing is said of what is in %s", f.FullName())
		case f.Kind() != protoreflect.MessageKind:
			if s.Type != want || f.Kind() == protoreflect.EnumKind && len(s.Enum) != f.Enum().Values().Len() {
				t.Errorf("%s is %v, want %s", f.FullName(), *s, want)
			}
		case f.Message().FullName() == "google.protobuf.Value":
			if s.Type != "" || s.Ref != "" {
				t.Errorf("%s is %v", f.FullName(), *s)
			}
		default:
			if s.Ref != "#/definitions/"+string(f.Message().FullName()) {
				t.Errorf("%s is %v", f.FullName(), *s)
			}
			visit(f.Message(), protoNames)
		}
	}
	visit = func(m protoreflect.MessageDescriptor, protoNames bool) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		definition, there := d.Definitions[string(m.FullName())]
		if !there {
			t.Errorf("%s is not defined", m.FullName())
			return
		}
		if len(definition.Properties) != m.Fields().Len() {
			t.Errorf("%s has %d fields, want %d", m.FullName(), len(definition.Properties), m.Fields().Len())
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			name := f.JSONName()
			if protoNames {
				name = string(f.Name())
			}
			s, there := definition.Properties[name]
			switch {
			case !there:
				t.Errorf("%s has no %s", m.FullName(), name)
			case f.IsMap():
				if s.Type != "object" {
					t.Errorf("%s is a %s", f.FullName(), s.Type)
				}
				one(f.MapValue(), s.AdditionalProperties, protoNames)
			case f.IsList():
				if s.Type != "array" {
					t.Errorf("%s is a %s", f.FullName(), s.Type)
				}
				one(f, s.Items, protoNames)
			default:
				one(f, &s, protoNames)
			}
		}
	}
	named := map[protoreflect.FullName][]string{}
	for _, o := range operations() {
		visit(o.Out, o.ProtoNames)
		if o.Method != "GET" {
			visit(o.In, o.ProtoNames)
		}
		for m, fields := range o.Required {
			named[m] = fields
		}
	}
	for m, fields := range named {
		definition, there := d.Definitions[string(m)]
		if !there && !strings.HasSuffix(string(m), "Request") { // of a query
			t.Errorf("%s has required fields, and is nowhere", m)
		}
		if there && len(definition.Required) != len(fields) {
			t.Errorf("%s requires %q, want %q", m, definition.Required, fields)
		}
	}
	if len(seen) < 50 {
		t.Errorf("there are only %d messages", len(seen))
	}
}

// What is no protobuf is described by the schemas that are given.
func TestPlain(t *testing.T) {
	text := map[string]any{"type": "string"}
	object := func(name string) map[string]any {
		return map[string]any{"type": "object", "properties": map[string]any{name: text}}
	}
	content, err := apidoc.Document("Edict", "1", append(operations(), apidoc.Operation{
		Method: "POST", Path: "/plain", ID: "Plain", Plain: &apidoc.Plain{MediaType: "application/x", Body: object("in"), Answer: object("out")},
	}, apidoc.Operation{
		Method: "GET", Path: "/plain", ID: "PlainGet", Plain: &apidoc.Plain{MediaType: "application/x", Answer: object("out")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	d := new(document)
	if err := json.Unmarshal(content, d); err != nil {
		t.Fatal(err)
	}
	for method, bodies := range map[string]int{"post": 1, "get": 0} {
		o := d.Paths["/plain"][method]
		if len(o.Parameters) != bodies || bodies == 1 && (o.Parameters[0].In != "body" || o.Parameters[0].Schema.Properties["in"].Type != "string") {
			t.Errorf("%s takes %v", method, o.Parameters)
		}
		if o.Responses["200"].Schema.Properties["out"].Type != "string" || len(o.Produces) != 2 || o.Produces[0] != "application/x" {
			t.Errorf("%s answers %v as %v", method, o.Responses, o.Produces)
		}
		failure := strings.TrimPrefix(o.Responses["default"].Schema.Ref, "#/definitions/")
		if d.Definitions[failure].Properties["status"].Type != "integer" {
			t.Errorf("errors of %s are %q, which is %v", method, failure, d.Definitions[failure])
		}
	}
}

func TestHandler(t *testing.T) {
	h := apidoc.Handler([]byte(`{"swagger":"2.0"}`))
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, apidoc.Path, nil))
		if w.Code != want || want == 200 && w.Header().Get("content-type") != "application/json" {
			t.Errorf("%s: got %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
}
