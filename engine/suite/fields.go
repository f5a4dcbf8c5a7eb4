package suite

import (
	"fmt"
	"regexp"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// text gives a string that may be absent, null or empty.
func text(o yamldoc.Object, name string) string {
	n, ok := o.Field(name)
	if !ok {
		return ""
	}
	t, _ := n.Text()
	return t.Value
}

// requiredText gives a string that must be there.
func requiredText(o yamldoc.Object, name string) diag.Text {
	n, ok := o.Required(name)
	if !ok {
		return diag.Text{Pos: o.Pos()}
	}
	t, _ := n.NonEmptyText()
	return t
}

// optionalText gives nil if the field is absent.
func optionalText(o yamldoc.Object, name string) *string {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	t, _ := n.Text()
	return &t.Value
}

// optionalBool gives nil if the field is absent.
func optionalBool(o yamldoc.Object, name string) *bool {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	b, _ := n.Bool()
	return &b
}

func flag(o yamldoc.Object, name string) bool {
	b := optionalBool(o, name)
	return b != nil && *b
}

// texts gives a list of strings that may be absent or empty.
func texts(o yamldoc.Object, name string) []diag.Text {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	list, _ := n.Texts()
	return list
}

// requiredTexts gives a list of strings that must have one.
func requiredTexts(o yamldoc.Object, name string) []diag.Text {
	n, ok := o.Required(name)
	if !ok {
		return nil
	}
	list, sound := n.Texts()
	if sound && len(list) == 0 {
		n.Report(EmptyList, name+": at least one is required", "")
	}
	return list
}

// objects gives a list of mappings that must have one.
func objects(o yamldoc.Object, name, hint string) []yamldoc.Node {
	n, ok := o.Required(name)
	if !ok {
		return nil
	}
	list, ok := n.List()
	if ok && len(list) == 0 {
		n.Report(EmptyList, name+": at least one is required", hint)
	}
	return list
}

// entries gives a mapping with free keys, which may be absent.
func entries(o yamldoc.Object, name string) []yamldoc.Entry {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	list, _ := n.Entries()
	return list
}

// values gives a mapping of JSON values, nil if it is absent.
func values(o yamldoc.Object, name string, emptyKeys bool) value.Values {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	list, _ := n.Entries()
	out := make(value.Values, len(list))
	for _, e := range list {
		if e.Key.Value == "" && !emptyKeys {
			e.Value.Document().Report(e.Key.Pos, yamldoc.EmptyText, name+": a key must not be empty", "")
		}
		out[e.Key.Value], _ = e.Value.Value()
	}
	return out
}

// mapping gives a Mapping that is nil if v is.
func mapping(v value.Values) value.Mapping {
	if v == nil {
		return nil
	}
	return v
}

// effect gives an effect, which may be written as its number.
func effect(n yamldoc.Node) engine.Effect {
	const hint = "write EFFECT_ALLOW or EFFECT_DENY"
	if n.IsInt() {
		if i, ok := n.Int(); ok && (i == int(engine.Allow) || i == int(engine.Deny)) {
			return engine.Effect(i)
		}
	}
	if t, ok := n.Text(); ok {
		switch t.Value {
		case engine.Allow.String():
			return engine.Allow
		case engine.Deny.String():
			return engine.Deny
		}
		n.Report(BadEffect, fmt.Sprintf("%q is not an effect that can be expected", t.Value), hint)
	}
	return engine.Deny
}

// instant gives a time in the form of RFC 3339.
func instant(n yamldoc.Node) time.Time {
	t, ok := n.Text()
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, t.Value)
	if err != nil {
		n.Report(BadTime, fmt.Sprintf("%q is not an instant in time", t.Value), "write it as in 2026-03-02T10:00:00Z")
	}
	return at
}

// The forms of scopes and versions that requests may have.
var (
	validScope   = regexp.MustCompile(`^(\.|[0-9a-zA-Z][\w\-]*(\.\w[\w\-]*)*)?$`)
	validVersion = regexp.MustCompile(`^\w*$`)
)

// address gives the policyVersion and the scope of a fixture.
func address(o yamldoc.Object) (version, scope string) {
	if n, ok := o.Field("policyVersion"); ok {
		if t, ok := n.Text(); ok && !validVersion.MatchString(t.Value) {
			n.Report(BadVersion, fmt.Sprintf("%q cannot be a policy version", t.Value), "use letters, digits and _ alone")
		} else {
			version = t.Value
		}
	}
	if n, ok := o.Field("scope"); ok {
		if t, ok := n.Text(); ok && !validScope.MatchString(t.Value) {
			n.Report(BadScope, fmt.Sprintf("%q cannot be a scope", t.Value), "a scope is written as in acme.hr.uk, and the root scope as .")
		} else {
			scope = t.Value
		}
	}
	return version, scope
}
