package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// place writes the policies out and gives every node the position that it has
// in the text, as if it had been read from there.
func (s *Set) place() {
	for i, p := range s.Policies {
		p.Pos = diag.Position{File: fmt.Sprintf("policy_%03d.yaml", i), Line: 1, Column: 1}
		p.Source = strings.Split(strings.TrimSuffix(YAML(p), "\n"), "\n")
	}
}

// YAML gives the policies as files, for a person to read and to replay.
func (s *Set) YAML() string {
	var b strings.Builder
	for i, p := range s.Policies {
		fmt.Fprintf(&b, "# policy_%03d.yaml\n%s---\n", i, YAML(p))
	}
	return b.String()
}

// YAML gives a policy as the text of its file, and sets the positions in the
// policy to the places in that text.
func YAML(p *policy.Policy) string {
	w := &yamlWriter{file: p.Pos.File, line: 1}
	w.entry("apiVersion", quoteYAML(policy.APIVersion))
	if p.Disabled {
		w.entry("disabled", "true")
	}
	switch {
	case p.Resource != nil:
		w.key("resourcePolicy", func() { w.resourcePolicy(p.Resource) })
	case p.Principal != nil:
		w.key("principalPolicy", func() { w.principalPolicy(p.Principal) })
	case p.Role != nil:
		w.key("rolePolicy", func() { w.rolePolicy(p.Role) })
	case p.DerivedRoles != nil:
		w.key("derivedRoles", func() { w.derivedRoles(p.DerivedRoles) })
	case p.ExportVariables != nil:
		w.key("exportVariables", func() {
			p.ExportVariables.Pos = w.next()
			w.text("name", &p.ExportVariables.Name)
			w.variables("definitions", p.ExportVariables.Definitions)
		})
	case p.ExportConstants != nil:
		w.key("exportConstants", func() {
			p.ExportConstants.Pos = w.next()
			w.text("name", &p.ExportConstants.Name)
			w.constants("definitions", p.ExportConstants.Definitions)
		})
	}
	return w.b.String()
}

// A yamlWriter writes block YAML whose scalars are double-quoted.
type yamlWriter struct {
	b      strings.Builder
	file   string
	line   int
	indent int
	dash   bool // the next line is the first of a list's member
}

// begin writes the indentation of a line and gives the column it ends at.
func (w *yamlWriter) begin() (column int) {
	pad := strings.Repeat("  ", w.indent)
	if w.dash {
		pad = pad[:len(pad)-2] + "- "
		w.dash = false
	}
	w.b.WriteString(pad)
	return len(pad) + 1
}

func (w *yamlWriter) end() {
	w.b.WriteByte('\n')
	w.line++
}

// at gives the position of what is about to be written at a column.
func (w *yamlWriter) at(column int) diag.Position {
	return diag.Position{File: w.file, Line: w.line, Column: column}
}

// next is where the next line's first character is going to be.
func (w *yamlWriter) next() diag.Position { return w.at(2*w.indent + 1) }

func (w *yamlWriter) entry(key, scalar string) {
	w.begin()
	w.b.WriteString(key + ": " + scalar)
	w.end()
}

// text writes a text under a key.
func (w *yamlWriter) text(key string, t *diag.Text) {
	column := w.begin()
	t.Pos = w.at(column + utf8.RuneCountInString(key) + 2)
	w.b.WriteString(key + ": " + quoteYAML(t.Value))
	w.end()
}

func (w *yamlWriter) key(key string, body func()) {
	w.begin()
	w.b.WriteString(key + ":")
	w.end()
	w.indent++
	body()
	w.indent--
}

// texts writes a list of texts, on one line.
func (w *yamlWriter) texts(key string, list []diag.Text) {
	if len(list) == 0 {
		return
	}
	column := w.begin() + len(key) + len(": [")
	w.b.WriteString(key + ": [")
	for i := range list {
		if i > 0 {
			w.b.WriteString(", ")
			column += 2
		}
		q := quoteYAML(list[i].Value)
		list[i].Pos = w.at(column)
		w.b.WriteString(q)
		column += utf8.RuneCountInString(q)
	}
	w.b.WriteByte(']')
	w.end()
}

// member writes one member of a list: its lines, the first after a dash.
func (w *yamlWriter) member(body func()) {
	w.indent++
	w.dash = true
	body()
	w.indent--
}

func (w *yamlWriter) resourcePolicy(p *policy.ResourcePolicy) {
	p.Pos = w.next()
	w.text("resource", &p.Resource)
	w.identity(&p.Version, &p.Scope, p.Permissions)
	if p.Schemas != nil {
		w.key("schemas", func() {
			p.Schemas.Pos = w.next()
			w.schemaRef("principalSchema", p.Schemas.Principal)
			w.schemaRef("resourceSchema", p.Schemas.Resource)
		})
	}
	w.texts("importDerivedRoles", p.ImportDerivedRoles)
	w.definitions(&p.Constants, &p.Variables)
	if len(p.Rules) == 0 {
		return
	}
	w.key("rules", func() {
		for i := range p.Rules {
			r := &p.Rules[i]
			w.member(func() {
				r.Pos = w.next()
				w.texts("actions", r.Actions)
				w.entry("effect", r.Effect.String())
				w.unlessEmpty("name", &r.Name)
				w.texts("roles", r.Roles)
				w.texts("derivedRoles", r.DerivedRoles)
				w.condition(r.Condition)
				w.output(r.Output)
			})
		}
	})
}

// identity writes what resource, principal and role policies have in common.
func (w *yamlWriter) identity(version, scope *diag.Text, p policy.ScopePermissions) {
	w.text("version", version)
	w.unlessEmpty("scope", scope)
	if p != policy.PermissionsUnspecified {
		w.entry("scopePermissions", p.String())
	}
}

func (w *yamlWriter) schemaRef(key string, ref *policy.SchemaRef) {
	if ref == nil {
		return
	}
	w.key(key, func() {
		ref.Pos = w.next()
		w.text("ref", &ref.Ref)
		if len(ref.IgnoreActions) > 0 {
			w.key("ignoreWhen", func() { w.texts("actions", ref.IgnoreActions) })
		}
	})
}

func (w *yamlWriter) unlessEmpty(key string, t *diag.Text) {
	if t.Value != "" {
		w.text(key, t)
	}
}

func (w *yamlWriter) principalPolicy(p *policy.PrincipalPolicy) {
	p.Pos = w.next()
	w.text("principal", &p.Principal)
	w.identity(&p.Version, &p.Scope, p.Permissions)
	w.definitions(&p.Constants, &p.Variables)
	if len(p.Rules) == 0 {
		return
	}
	w.key("rules", func() {
		for i := range p.Rules {
			block := &p.Rules[i]
			w.member(func() {
				block.Pos = w.next()
				w.text("resource", &block.Resource)
				w.key("actions", func() {
					for j := range block.Actions {
						r := &block.Actions[j]
						w.member(func() {
							r.Pos = w.next()
							w.text("action", &r.Action)
							w.entry("effect", r.Effect.String())
							w.unlessEmpty("name", &r.Name)
							w.condition(r.Condition)
							w.output(r.Output)
						})
					}
				})
			})
		}
	})
}

func (w *yamlWriter) rolePolicy(p *policy.RolePolicy) {
	p.Pos = w.next()
	w.text("role", &p.Role)
	w.identity(&p.Version, &p.Scope, policy.PermissionsUnspecified)
	w.texts("parentRoles", p.ParentRoles)
	w.definitions(&p.Constants, &p.Variables)
	if len(p.Rules) == 0 {
		return
	}
	w.key("rules", func() {
		for i := range p.Rules {
			r := &p.Rules[i]
			w.member(func() {
				r.Pos = w.next()
				w.text("resource", &r.Resource)
				w.unlessEmpty("name", &r.Name)
				w.texts("allowActions", r.AllowActions)
				w.condition(r.Condition)
				w.output(r.Output)
			})
		}
	})
}

func (w *yamlWriter) output(o *policy.Output) {
	if o == nil {
		return
	}
	w.key("output", func() {
		o.Pos = w.next()
		w.key("when", func() {
			w.unlessEmpty("ruleActivated", &o.RuleActivated)
			w.unlessEmpty("conditionNotMet", &o.ConditionNotMet)
		})
	})
}

func (w *yamlWriter) derivedRoles(d *policy.DerivedRoles) {
	d.Pos = w.next()
	w.text("name", &d.Name)
	w.definitions(&d.Constants, &d.Variables)
	w.key("definitions", func() {
		for i := range d.Definitions {
			def := &d.Definitions[i]
			w.member(func() {
				def.Pos = w.next()
				w.text("name", &def.Name)
				w.texts("parentRoles", def.ParentRoles)
				w.condition(def.Condition)
			})
		}
	})
}

func (w *yamlWriter) definitions(c *policy.Constants, v *policy.Variables) {
	if len(c.Import)+len(c.Local) > 0 {
		w.key("constants", func() {
			w.texts("import", c.Import)
			w.constants("local", c.Local)
		})
	}
	if len(v.Import)+len(v.Local) > 0 {
		w.key("variables", func() {
			w.texts("import", v.Import)
			w.variables("local", v.Local)
		})
	}
}

func (w *yamlWriter) constants(key string, list []policy.Constant) {
	if len(list) == 0 {
		return
	}
	w.key(key, func() {
		for i := range list {
			list[i].Name.Pos = w.next()
			w.entry(quoteYAML(list[i].Name.Value), jsonText(list[i].Value.Native()))
		}
	})
}

func (w *yamlWriter) variables(key string, list []policy.Variable) {
	if len(list) == 0 {
		return
	}
	w.key(key, func() {
		for i := range list {
			list[i].Name.Pos = w.next()
			w.text(quoteYAML(list[i].Name.Value), &list[i].Expr)
		}
	})
}

func (w *yamlWriter) condition(c *policy.Condition) {
	if c == nil {
		return
	}
	w.key("condition", func() {
		w.key("match", func() { w.match(c) })
	})
}

func (w *yamlWriter) match(c *policy.Condition) {
	c.Pos = w.next()
	if c.Op == policy.Expr {
		w.text("expr", &c.Expr)
		return
	}
	w.key(c.Op.String(), func() {
		w.key("of", func() {
			for _, m := range c.Of {
				w.member(func() { w.match(m) })
			}
		})
	})
}

// quoteYAML gives a double-quoted scalar.
func quoteYAML(s string) string { return jsonText(s) }

// jsonText gives JSON on one line, which is YAML too.
func jsonText(x any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(x); err != nil {
		panic(fmt.Sprintf("oracle: no JSON of %v: %v", x, err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// RequestJSON gives a request for a person to read, a field a line.
func RequestJSON(req *engine.Request) string {
	attr := func(m value.Mapping) any {
		if m == nil {
			return nil
		}
		return value.OfMapping(m).Native()
	}
	p, r := &req.Principal, &req.Resource
	b, err := json.MarshalIndent(map[string]any{
		"principal": map[string]any{"id": p.ID, "roles": p.Roles, "attr": attr(p.Attr), "policyVersion": p.PolicyVersion, "scope": p.Scope},
		"resource":  map[string]any{"kind": r.Kind, "id": r.ID, "attr": attr(r.Attr), "policyVersion": r.PolicyVersion, "scope": r.Scope},
		"actions":   req.Actions,
		"jwt":       attr(req.AuxData.JWT),
		"now":       req.Now,
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("oracle: no JSON of a request: %v", err))
	}
	return string(b)
}
