package config

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

var enforcements = map[string]engine.SchemaEnforcement{
	"none": engine.SchemaNone, "warn": engine.SchemaWarn, "reject": engine.SchemaReject,
}

func setDefaultPolicyVersion(c *Config, n yamldoc.Node) {
	t, ok := n.Text()
	if ok && strings.TrimSpace(t.Value) == "" {
		n.Report(CodeBadValue, "engine.defaultPolicyVersion must not be blank", "write the version of your policies, like default")
		return
	}
	c.DefaultPolicyVersion = t.Value
}

// scope is what the scope of a policy may be. A default that no policy can
// have would deny everything.
var scope = regexp.MustCompile(`^(|\.|[0-9A-Za-z][\w-]*(\.\w[\w-]*)*)$`)

func setDefaultScope(c *Config, n yamldoc.Node) {
	t, ok := n.Text()
	if ok && !scope.MatchString(t.Value) {
		n.Report(CodeBadValue, fmt.Sprintf("%q is not a scope", t.Value), "a scope is segments of letters, digits, underscores and dashes with dots between them, like emea.fr")
		return
	}
	c.DefaultScope = t.Value
}

// identifier is what follows the dot in globals.name.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func setGlobals(c *Config, n yamldoc.Node) {
	if !n.IsMapping() {
		n.Report(yamldoc.WrongType, "engine.globals must be a mapping of names to values", "")
		return
	}
	entries, _ := n.Entries()
	globals := make(value.Values, len(entries))
	for _, e := range entries {
		name := e.Key.Value
		switch {
		case !identifier.MatchString(name):
			n.Document().Report(e.Key.Pos, CodeBadValue, fmt.Sprintf("%q is not a name that globals.name can have", name), "use letters, digits and underscores")
		case slices.Contains([]string{"true", "false", "null", "in"}, name):
			n.Document().Report(e.Key.Pos, CodeBadValue, fmt.Sprintf("%q is a word of CEL, and no name", name), "")
		}
		if v, ok := e.Value.TypedValue(); ok {
			globals[name] = v
		}
	}
	c.Globals = globals
}

func setCacheSize(_ *Config, n yamldoc.Node) { n.Int() }

func setKeySets(c *Config, n yamldoc.Node) {
	list, _ := n.List()
	c.AuxData.KeySets = nil
	ids := map[string]diag.Position{}
	for _, n := range list {
		o, ok := n.Object("id", "remote", "local", "insecure")
		if !ok {
			continue
		}
		set, sound := keySet(o)
		if first, repeated := ids[set.ID]; repeated && set.ID != "" {
			id, _ := o.Field("id")
			id.ReportRelated(CodeBadValue, fmt.Sprintf("there are two key sets with the id %q", set.ID), "give each an id of its own",
				diag.Related{Pos: first, Message: "the first one"})
			continue
		}
		ids[set.ID] = n.Pos()
		if !sound {
			continue
		}
		if err := set.Validate(); err != nil {
			n.Report(CodeBadValue, fmt.Sprintf("the key set %q can't work: %v", set.ID, err), "")
		}
		c.AuxData.KeySets = append(c.AuxData.KeySets, set)
	}
}

// keySet reads one key set, and tells whether it is whole.
func keySet(o yamldoc.Object) (set auxdata.KeySet, sound bool) {
	if id, ok := o.Required("id"); ok {
		t, _ := id.NonEmptyText()
		set.ID = t.Value
	}
	if insecure, ok := o.Field("insecure"); ok {
		if o, ok := insecure.Object("optionalAlg", "optionalKid"); ok {
			boolField(o, "optionalAlg", &set.OptionalAlg)
			boolField(o, "optionalKid", &set.OptionalKid)
		}
	}
	name, n, ok := o.OneOf("remote", "local")
	switch {
	case !ok:
		return set, false
	case name == "remote":
		set.Remote, ok = remote(n)
	default:
		set.Local, ok = local(n)
	}
	return set, ok && set.ID != ""
}

func remote(n yamldoc.Node) (*auxdata.Remote, bool) {
	r := new(auxdata.Remote)
	o, ok := n.Object("url", "refreshInterval")
	if !ok {
		return r, false
	}
	if u, given := o.Required("url"); given {
		t, sound := u.NonEmptyText()
		r.URL, ok = t.Value, sound
	} else {
		ok = false
	}
	if every, given := o.Field("refreshInterval"); given {
		d, sound := every.Duration()
		if sound && d < time.Second {
			every.Report(CodeBadValue, "the interval is too short", "write at least 1s, or leave it out to follow the server's cache headers")
			sound = false
		}
		r.RefreshInterval, ok = d, ok && sound
	}
	return r, ok
}

func local(n yamldoc.Node) (*auxdata.Local, bool) {
	l := new(auxdata.Local)
	o, ok := n.Object("file", "data", "pem")
	if !ok {
		return l, false
	}
	boolField(o, "pem", &l.PEM)
	name, n, ok := o.OneOf("file", "data")
	if !ok {
		return l, false
	}
	t, ok := n.NonEmptyText()
	if !ok {
		return l, false
	}
	if name == "file" {
		l.File = t.Value
		return l, true
	}
	data, err := base64.StdEncoding.DecodeString(t.Value)
	if err != nil {
		n.Report(CodeBadValue, fmt.Sprintf("data is not base64: %v", err), "encode the key set with base64, with padding")
		return l, false
	}
	l.Data = data
	return l, true
}

func boolField(o yamldoc.Object, name string, dst *bool) {
	if n, ok := o.Field(name); ok {
		if b, ok := n.Bool(); ok {
			*dst = b
		}
	}
}

// warning gives what deserves a word about a key that was set, if anything.
func warning(path string, c *Config) (code diag.Code, message, hint string) {
	switch {
	case path == "auxData.jwt.cacheSize":
		return CodeNoEffect, "auxData.jwt.cacheSize has no effect: every token is verified every time", "remove it"
	case path == "auxData.jwt.disableVerification" && c.AuxData.DisableVerification:
		return CodeInsecure, "the claims of every token are believed, whoever made it", "use this only where something in front has verified the tokens"
	case path == "respond.detail" && c.Checks.Respond.FullDetail:
		return CodeInsecure, "denials tell every client how the check ended, and which policy and rule decided", "use this only in development"
	case path == "identity.sources":
		for _, s := range c.Checks.Identity {
			if s.JWT == nil {
				continue
			}
			for _, i := range s.JWT.Issuers {
				if i.Keys.AllowHTTP {
					return CodeInsecure, fmt.Sprintf("the keys of the issuer %q may come without encryption, so that whoever is on the way can forge its tokens", i.Issuer.Issuer), "use https"
				}
			}
		}
	case path == "auxData.jwt.keySets":
		for _, set := range c.AuxData.KeySets {
			if set.OptionalAlg || set.OptionalKid {
				return CodeInsecure, fmt.Sprintf("the key set %q does without the alg or the kid of its keys", set.ID), "have the issuer name both"
			}
		}
	}
	return listenWarning(path, c)
}
