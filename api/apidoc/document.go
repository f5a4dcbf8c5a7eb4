package apidoc

import (
	"encoding/json"
	"net/http"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Path is where Cerbos has its document.
const Path = "/schema/swagger.json"

// An Operation is a call over HTTP. A GET has its request in the query.
type Operation struct {
	Method, Path string
	ID           string // of no other operation
	Tag, Summary string

	In, Out protoreflect.MessageDescriptor

	// Plain describes an operation without messages of protobuf. Nil: In and Out are
	// its messages.
	Plain *Plain

	// ProtoNames tells that fields go by the names of the schema, and not by those of
	// JSON in protobuf.
	ProtoNames bool

	// Required names the fields that must be there, by the full names of messages.
	Required map[protoreflect.FullName][]string

	Password   bool // basic authentication
	Deprecated bool
}

// A Plain is what goes into an operation and comes out, as JSON schemas. Its errors are
// problem details (RFC 9457).
type Plain struct {
	MediaType    string         // of what comes out
	Body, Answer map[string]any // Body is nil of a GET
}

type object = map[string]any

// problem is the definition of errors without protobuf.
const problem = "problem"

// Document gives the document about operations.
func Document(title, version string, operations []Operation) ([]byte, error) {
	paths, definitions := object{}, object{
		"google.rpc.Status": object{
			"type": "object", "required": []string{"code", "message"},
			"properties": object{
				"code":    object{"type": "integer", "format": "int32", "description": "code of gRPC"},
				"message": object{"type": "string"},
				"details": object{"type": "array", "items": object{"type": "object"}},
			},
		},
	}
	problemDetails := object{
		"type": "object", "required": []string{"title", "status"},
		"properties": object{"title": object{"type": "string"}, "status": object{"type": "integer", "format": "int32"}},
	}
	for i := range operations {
		o := &operations[i]
		w := &writer{definitions: definitions, operation: o}
		described := object{"operationId": o.ID, "tags": []string{o.Tag}, "summary": o.Summary}
		if o.Plain == nil {
			described["responses"] = responses(w.message(o.Out), "google.rpc.Status")
		} else {
			definitions[problem] = problemDetails
			described["responses"] = responses(o.Plain.Answer, problem)
			described["produces"] = []string{o.Plain.MediaType, "application/problem+json"}
		}
		if p := w.parameters(); p != nil {
			described["parameters"] = p
		}
		if o.Password {
			described["security"] = []object{{"BasicAuth": []string{}}}
		}
		if o.Deprecated {
			described["deprecated"] = true
		}
		at, ok := paths[o.Path].(object)
		if !ok {
			at = object{}
			paths[o.Path] = at
		}
		at[strings.ToLower(o.Method)] = described
	}
	return json.MarshalIndent(object{
		"swagger":             "2.0",
		"info":                object{"title": title, "version": version},
		"consumes":            []string{"application/json"},
		"produces":            []string{"application/json"},
		"paths":               paths,
		"definitions":         definitions,
		"securityDefinitions": object{"BasicAuth": object{"type": "basic"}},
	}, "", "  ")
}

// responses describes what comes out of an operation. Its errors have a definition of
// that name.
func responses(answer object, failure string) object {
	return object{
		"200":     object{"description": "The answer.", "schema": answer},
		"default": object{"description": "An error.", "schema": object{"$ref": "#/definitions/" + failure}},
	}
}

// A writer describes one operation.
type writer struct {
	definitions object // of all operations, by the full names of messages
	operation   *Operation
}

func (w *writer) name(f protoreflect.FieldDescriptor) string {
	if w.operation.ProtoNames {
		return string(f.Name())
	}
	return f.JSONName()
}

// parameters describes what goes into an operation; nil: nothing does.
func (w *writer) parameters() []object {
	if p := w.operation.Plain; p != nil {
		if p.Body == nil {
			return nil
		}
		return []object{{"name": "body", "in": "body", "required": true, "schema": p.Body}}
	}
	in, required := w.operation.In, w.required(w.operation.In)
	if w.operation.Method != http.MethodGet {
		return []object{{"name": "body", "in": "body", "required": true, "schema": w.message(in)}}
	}
	var out []object
	for i := range in.Fields().Len() {
		f := in.Fields().Get(i)
		p := w.field(f)
		p["name"], p["in"], p["required"] = w.name(f), "query", required[string(f.Name())]
		if f.IsList() {
			p["collectionFormat"] = "multi"
		}
		out = append(out, p)
	}
	return out
}

func (w *writer) required(m protoreflect.MessageDescriptor) map[string]bool {
	out := map[string]bool{}
	for _, name := range w.operation.Required[m.FullName()] {
		out[name] = true
	}
	return out
}

// message describes a message, by a reference if it has a definition.
func (w *writer) message(m protoreflect.MessageDescriptor) object {
	switch m.FullName() {
	case "google.protobuf.Value":
		return object{} // any JSON value
	case "google.protobuf.Struct":
		return object{"type": "object"}
	}
	name := string(m.FullName())
	reference := object{"$ref": "#/definitions/" + name}
	if _, there := w.definitions[name]; there {
		return reference
	}
	properties := object{}
	definition := object{"type": "object", "properties": properties}
	w.definitions[name] = definition // before its fields, which may hold such messages
	var required []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		properties[w.name(f)] = w.field(f)
		if w.required(m)[string(f.Name())] {
			required = append(required, w.name(f))
		}
	}
	if required != nil {
		definition["required"] = required
	}
	return reference
}

// field describes what a field holds.
func (w *writer) field(f protoreflect.FieldDescriptor) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": w.one(f.MapValue())}
	case f.IsList():
		return object{"type": "array", "items": w.one(f)}
	}
	return w.one(f)
}

// one describes one value of a field, in the JSON of protobuf
// (https://protobuf.dev/programming-guides/json/).
func (w *writer) one(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return w.message(f.Message())
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "format": "byte"}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{"type": "number"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": "string", "format": "int64"} // JSON numbers are not exact enough
	}
	return object{"type": "integer"}
}

// Handler gives what answers a GET with a document.
func Handler(document []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(document) // the client is gone if this fails
	})
}
