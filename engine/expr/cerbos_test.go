package expr

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"edict/engine/value"
)

// TestCerbosAgrees runs expressions on what Cerbos 0.55.0 answered for them, as
// a condition and as an output. Errors are compared by their presence: the
// texts are our own.
func TestCerbosAgrees(t *testing.T) {
	files, err := filepath.Glob("testdata/cerbos/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded answers: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var record struct {
				Context recordedContext
				Cases   []struct {
					Expr    string
					Refused bool
					Holds   bool
					Error   string
					Value   any
				}
			}
			content, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(content, &record)
			}
			if err != nil {
				t.Fatal(err)
			}
			e := newTestEnv(t)
			for _, tc := range record.Cases {
				p, issues := e.Compile(tc.Expr)
				if (p == nil) != tc.Refused {
					t.Errorf("%s: refused is %v, want %v: %v", tc.Expr, p == nil, tc.Refused, issues)
				}
				if p == nil {
					continue
				}
				f := record.Context.frame(e)
				if holds, err := p.Truth(f); holds != tc.Holds {
					t.Errorf("%s holds: %v (%v), want %v", tc.Expr, holds, err, tc.Holds)
				}
				got, err := f.Detach(p.Eval(f))
				bound, boundErr := f.Detach(p.Bind(value.Attributes(record.Context.Constants), "C").Eval(f))
				if (boundErr != nil) != (err != nil) || !alike(bound, got) {
					t.Errorf("%s is %v (%v), with its constants bound %v (%v)", tc.Expr, got, err, bound, boundErr)
				}
				switch {
				case (err != nil) != (tc.Error != ""):
					t.Errorf("%s as an output: error %v, want %q", tc.Expr, err, tc.Error)
				case err == nil && !alike(got, deep(tc.Value)) && got.Double() != 0: // -0 is written 0
					t.Errorf("%s as an output: %v, want %v", tc.Expr, got, deep(tc.Value))
				}
			}
		})
	}
}

// recordedContext is what was sent with the expressions.
type recordedContext struct {
	Principal, Resource struct {
		ID    string
		Kind  string
		Roles []string
		Attr  map[string]any
	}
	JWT       map[string]any
	JWTs      map[string]any
	Constants map[string]any
	Globals   map[string]any
}

func (c *recordedContext) frame(e *Env) *Frame {
	list := func(texts []string) value.Value { return value.OfSequence(value.Strings(texts)) }
	principal := &object{"Principal", value.Values{"id": value.OfString(c.Principal.ID), "roles": list(c.Principal.Roles),
		"attr": deep(c.Principal.Attr), "policyVersion": value.OfString(""), "scope": value.OfString("")}}
	resource := &object{"Resource", value.Values{"id": value.OfString(c.Resource.ID), "kind": value.OfString(c.Resource.Kind),
		"attr": deep(c.Resource.Attr), "policyVersion": value.OfString(""), "scope": value.OfString("")}}
	named := value.Values{}
	for name, token := range c.JWTs {
		named[name] = value.OfMapping(&object{"NamedJWT", deep(token).Mapping().(value.Values)})
	}
	var aux StructValue = &object{"AuxData", value.Values{"jwt": deep(c.JWT), "jwts": value.OfMapping(named)}}
	if c.JWT == nil && c.JWTs == nil {
		aux = unsent{aux}
	}
	f := e.NewFrame()
	f.Reset(testNow)
	for slot, o := range map[int]*object{
		slotP: principal,
		slotR: resource,
		slotRequest: {"Request", value.Values{"principal": value.OfMapping(principal), "resource": value.OfMapping(resource),
			"auxData": value.OfMapping(aux), "aux_data": value.OfMapping(aux)}},
		slotV:       {"Variables", value.Values{}},
		slotC:       {"Constants", deep(c.Constants).Mapping().(value.Values)},
		slotG:       {"Globals", deep(c.Globals).Mapping().(value.Values)},
		slotRuntime: {"Runtime", value.Values{"effectiveDerivedRoles": list(nil)}},
	} {
		f.Set(slot, value.OfMapping(o))
	}
	return f
}

// unsent is a struct that was not sent: its fields have their defaults.
type unsent struct{ StructValue }

func (unsent) Len() int { return 0 }
