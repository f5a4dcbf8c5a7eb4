package oracle

import (
	"slices"

	"edict/engine"
	"edict/engine/policy"
)

// A jsonSchema is one of the schemas that generated policies refer to: its
// text, and which attributes break it.
type jsonSchema struct {
	name, text string
	broken     func(attr map[string]any) bool
}

// jsonSchemas are all of them. They are few and simple, so that what breaks
// them can be told at a glance.
var jsonSchemas = []jsonSchema{
	{
		name:   "owner.json",
		text:   `{"type": "object", "properties": {"owner": {"type": "string"}}}`,
		broken: func(attr map[string]any) bool { return isNot[string](attr, "owner") },
	},
	{
		name: "team/n.json",
		text: `{"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}}`,
		broken: func(attr map[string]any) bool {
			_, there := attr["n"]
			return !there || isNot[float64](attr, "n")
		},
	},
	{
		name:   "flags.json",
		text:   `{"type": "object", "properties": {"flag": {"type": "boolean"}, "tags": {"type": "array", "items": {"type": "string"}}}}`,
		broken: func(attr map[string]any) bool { return isNot[bool](attr, "flag") || isNoList[string](attr, "tags") },
	},
	{
		name:   "any.json",
		text:   `{"type": "object"}`,
		broken: func(map[string]any) bool { return false },
	},
}

// isNot tells whether an attribute is there and of another type.
func isNot[T any](attr map[string]any, name string) bool {
	x, there := attr[name]
	_, is := x.(T)
	return there && !is
}

func isNoList[T any](attr map[string]any, name string) bool {
	x, there := attr[name]
	list, is := x.([]any)
	return there && (!is || slices.ContainsFunc(list, func(m any) bool {
		_, is := m.(T)
		return !is
	}))
}

// schemaScheme is how policies refer to schemas.
const schemaScheme = "cerbos:///"

// SchemaFiles gives the schemas that policies of a generator refer to, by the
// names of their files.
func SchemaFiles() map[string][]byte {
	files := map[string][]byte{}
	for _, s := range jsonSchemas {
		files[s.name] = []byte(s.text)
	}
	return files
}

// validate tells whose attributes break the schemas. Those count that the
// policy of the root scope names, below the policy that the request is about.
func (e *entry) validate() (principal, resource bool) {
	main := e.mainPolicy()
	if e.opts.SchemaEnforcement == engine.SchemaNone || main == nil {
		return false, false
	}
	root := e.policies[key("resource", main.Resource.Value, main.Version.Value, "")]
	if root.Schemas == nil {
		return false, false
	}
	e.meet(SchemaChecked)
	return e.breaks(root.Schemas.Principal, plain(e.req.Principal.Attr)), e.breaks(root.Schemas.Resource, plain(e.req.Resource.Attr))
}

// mainPolicy gives the most specific resource policy, if there is one.
func (e *entry) mainPolicy() *policy.ResourcePolicy {
	if len(e.chains[resourceStage]) == 0 {
		return nil
	}
	return e.policies[key("resource", e.req.Resource.Kind, e.version, e.chains[resourceStage][0])]
}

// breaks tells whether attributes break a schema, unless it is of no concern
// to any of the actions.
func (e *entry) breaks(ref *policy.SchemaRef, attr map[string]any) bool {
	if ref == nil {
		return false
	}
	concerned := slices.ContainsFunc(e.req.Actions, func(action string) bool {
		return !slices.ContainsFunc(texts(ref.IgnoreActions), func(pattern string) bool {
			return pattern == action || matchesGlob(pattern, action)
		})
	})
	if !concerned {
		e.meet(SchemaIgnored)
		return false
	}
	i := slices.IndexFunc(jsonSchemas, func(s jsonSchema) bool { return schemaScheme+s.name == ref.Ref.Value })
	return jsonSchemas[i].broken(attr)
}
