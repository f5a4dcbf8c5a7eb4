package claims

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"edict/engine/value"
	"edict/engine/yamldoc"
)

// TestMap maps the claims of testdata/claims.yaml.
func TestMap(t *testing.T) {
	const file = "testdata/claims.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := yamldoc.Parse(file, content)
	root, _ := doc.Root()
	cases, _ := root.List()
	for _, n := range cases {
		c := readCase(n)
		if list := doc.Diagnostics(); len(list) > 0 {
			t.Fatal(list.Render())
		}
		t.Run(c.name, func(t *testing.T) {
			m, err := Compile(c.mapping)
			if err != nil {
				t.Fatal(err)
			}
			id, roles, attributes, err := m.Map(c.claims, nil)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %q, %q, %v; want an error about %q", id, roles, err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if id != c.id || !slices.Equal(roles, c.roles) {
				t.Errorf("got %q with %q, want %q with %q", id, roles, c.id, c.roles)
			}
			want := any(value.OfMapping(c.claims).Native())
			if c.attributes.Kind() == value.Map {
				want = c.attributes.Native()
			}
			if got := value.OfMapping(attributes).Native(); !reflect.DeepEqual(got, want) {
				t.Errorf("got the attributes %v, want %v", got, want)
			}
		})
	}
	if len(cases) < 40 {
		t.Errorf("there are only %d cases", len(cases))
	}
}

type mapCase struct {
	name, refused, id string
	roles             []string
	mapping           Mapping
	claims            value.Mapping
	attributes        value.Value
}

func readCase(n yamldoc.Node) (c mapCase) {
	o, _ := n.Object("name", "claims", "id", "roles", "attributes", "refused", "with")
	read(o, "name", &c.name)
	read(o, "refused", &c.refused)
	read(o, "id", &c.id)
	c.roles = texts(o, "roles")
	if n, ok := o.Field("claims"); ok {
		v, _ := n.Value()
		c.claims = v.Mapping()
	}
	if n, ok := o.Field("attributes"); ok {
		c.attributes, _ = n.Value()
	}
	with, ok := o.Field("with")
	if !ok {
		return c
	}
	w, _ := with.Object("id", "roles", "defaultRoles", "roleMap", "allowedRoles", "attributes")
	m := &c.mapping
	m.ID, m.DefaultRoles, m.AllowedRoles = texts(w, "id"), texts(w, "defaultRoles"), texts(w, "allowedRoles")
	if n, ok := w.Field("roles"); ok {
		list, _ := n.List()
		for _, n := range list {
			r, _ := n.Object("claim", "separator", "stripPrefix", "addPrefix")
			var out Roles
			read(r, "claim", &out.Claim)
			read(r, "separator", &out.Separator)
			read(r, "stripPrefix", &out.StripPrefix)
			read(r, "addPrefix", &out.AddPrefix)
			m.Roles = append(m.Roles, out)
		}
	}
	if n, ok := w.Field("roleMap"); ok {
		entries, _ := n.Entries()
		m.RoleMap = map[string][]string{}
		for _, e := range entries {
			list, _ := e.Value.Texts()
			m.RoleMap[e.Key.Value] = nil
			for _, t := range list {
				m.RoleMap[e.Key.Value] = append(m.RoleMap[e.Key.Value], t.Value)
			}
		}
	}
	if n, ok := w.Field("attributes"); ok {
		list, _ := n.List()
		m.Attributes = []Attribute{}
		for _, n := range list {
			a, _ := n.Object("name", "claim", "type", "required")
			var out Attribute
			var kind string
			read(a, "name", &out.Name)
			read(a, "claim", &out.Claim)
			read(a, "type", &kind)
			out.Type = Type(kind)
			if n, ok := a.Field("required"); ok {
				out.Required, _ = n.Bool()
			}
			m.Attributes = append(m.Attributes, out)
		}
	}
	return c
}

func read(o yamldoc.Object, name string, dst *string) {
	if n, ok := o.Field(name); ok {
		t, _ := n.Text()
		*dst = t.Value
	}
}

func texts(o yamldoc.Object, name string) (out []string) {
	if n, ok := o.Field(name); ok {
		list, _ := n.Texts()
		out = []string{}
		for _, t := range list {
			out = append(out, t.Value)
		}
	}
	return out
}

func TestCompileRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		mapping Mapping
		want    string
	}{
		"an empty id":          {Mapping{ID: []string{""}}, "name of a claim is empty"},
		"a bad pointer":        {Mapping{ID: []string{"/a~2b"}}, "~0 for ~"},
		"a pointer's last ~":   {Mapping{Roles: []Roles{{Claim: "/a~"}}}, "~0 for ~"},
		"a long name":          {Mapping{ID: []string{strings.Repeat("a.", 20)}}, "more than 16 segments"},
		"a long pointer":       {Mapping{ID: []string{strings.Repeat("/a", 20)}}, "more than 16 segments"},
		"an unknown type":      {Mapping{Attributes: []Attribute{{Name: "a", Claim: "a", Type: "text"}}}, `no type "text"`},
		"an attribute of none": {Mapping{Attributes: []Attribute{{Name: "a"}}}, "the attribute a: the name of a claim is empty"},
		"an empty role":        {Mapping{DefaultRoles: []string{""}}, "a role is empty"},
		"an empty mapped role": {Mapping{RoleMap: map[string][]string{"a": {""}}}, "role of the role map is empty"},
	} {
		if _, err := Compile(test.mapping); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got the error %v, want one about %q", name, err, test.want)
		}
	}
}

// A token with endless roles is refused, and in no time.
func TestManyRoles(t *testing.T) {
	list := value.Strings{}
	for i := range 20_000 {
		list = append(list, strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/182))
	}
	m, err := Compile(Mapping{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = m.Map(value.Values{"sub": value.OfString("a"), "roles": value.OfSequence(list)}, nil)
	if err == nil || !strings.Contains(err.Error(), "more than 1000 roles") {
		t.Errorf("got the error %v", err)
	}
}

// Roles are appended to what the caller has, with no second copy of it.
func TestMapAllocates(t *testing.T) {
	m, err := Compile(Mapping{Roles: []Roles{{Claim: "realm_access.roles"}}})
	if err != nil {
		t.Fatal(err)
	}
	claims := value.Values{"sub": value.OfString("a"), "realm_access": value.OfMapping(value.Values{
		"roles": value.OfSequence(value.Strings{"user", "admin"})})}
	room := make([]string, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, _, err := m.Map(claims, room); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
