package oracle

import (
	"slices"
	"strconv"
	"strings"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/value"
)

// A Table is what the rows are of that a row filter is about: columns with a
// type, each an attribute of the resource that a row is.
type Table struct {
	Columns []Column
}

// A Column is one attribute of all rows.
type Column struct {
	Name     string
	Type     ColumnType
	Nullable bool

	// MissingWhenNull tells what a column that is NULL is to policies: an
	// attribute that is not there, or else one that is null.
	MissingWhenNull bool
}

// A ColumnType is the type of a column. To policies, ints and doubles are one,
// and timestamps are texts.
type ColumnType string

// The types of columns.
const (
	StringColumn    ColumnType = "string"
	IntColumn       ColumnType = "int"
	DoubleColumn    ColumnType = "double"
	BoolColumn      ColumnType = "bool"
	TimestampColumn ColumnType = "timestamp"
)

// A Row has a value for each column: nil, bool, float64 or string.
type Row struct {
	ID     string
	Values map[string]any
}

// Resource gives the resource that a row is, of which some attributes that are
// no columns are known.
func (t *Table) Resource(known engine.Resource, r Row) engine.Resource {
	attr := value.Attributes{}
	if known.Attr != nil {
		for k, v := range plain(known.Attr) {
			attr[k] = v
		}
	}
	for _, c := range t.Columns {
		if v := r.Values[c.Name]; v != nil || !c.MissingWhenNull {
			attr[c.Name] = v
		}
	}
	known.Attr, known.ID = attr, r.ID
	return known
}

var (
	columnNames = map[ColumnType][]string{
		StringColumn:    {"owner", "region", "text", "cost-center"},
		IntColumn:       {"n", "amount"},
		DoubleColumn:    {"level", "score"},
		BoolColumn:      {"flag", "paid"},
		TimestampColumn: {"when", "due"},
	}
	columnTexts   = []string{"amy", "Amy", "bob", "", "a", "b", "red", "Red", "user", "admin", "owner", "a%", "a_b", "%", "_", `\`, `it's "x"`, "é✓", "É", "1", "true", "ab", "doc"}
	columnInts    = []float64{0, 1, 2, 3, 7, -1, 100, 1000}
	columnDoubles = []float64{0, 1, 1.5, 2, 3, -1, 7, 0.1, 0.5, 100}
	columnTimes   = []string{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-05-01T10:00:00Z", "2024-05-02T10:00:00Z", "2024-05-02T10:00:00.123456Z", "2024-05-01T10:00:00.123457Z",
		"1970-01-01T00:00:00Z", "2024-04-30T23:59:59.999999Z", "2024-05-01T09:00:00Z", "2024-02-29T12:30:45.678000Z", "2030-01-01T00:00:00Z"}
)

// Table makes a table. What the generator makes from then on is about its rows.
func (g *Generator) Table() *Table {
	t := &Table{}
	for _, of := range []ColumnType{StringColumn, IntColumn, DoubleColumn, BoolColumn, TimestampColumn} {
		for _, name := range some(g.random, 0, 2, columnNames[of]) {
			t.Columns = append(t.Columns, Column{Name: name, Type: of, Nullable: g.chance(70), MissingWhenNull: g.chance(40)})
		}
	}
	if len(t.Columns) == 0 {
		t.Columns = []Column{{Name: "owner", Type: StringColumn, Nullable: true}}
	}
	g.table = t
	return t
}

// column gives a column; nil if there is none, or no table.
func (t *Table) column(name string) *Column {
	if t == nil {
		return nil
	}
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Rows makes rows of the table.
func (g *Generator) Rows(n int) (out []Row) {
	for i := range n {
		r := Row{ID: pick(g.random, "", "", "amy", "1") + "r" + strconv.Itoa(i), Values: map[string]any{}}
		if i == 0 {
			r.ID = "amy"
		}
		for _, c := range g.table.Columns {
			r.Values[c.Name] = nil
			if !c.Nullable || !g.chance(25) {
				r.Values[c.Name] = g.cell(c.Type)
			}
		}
		out = append(out, r)
	}
	return out
}

func (g *Generator) cell(of ColumnType) any {
	switch of {
	case IntColumn:
		return pick(g.random, columnInts...)
	case DoubleColumn:
		return pick(g.random, columnDoubles...)
	case BoolColumn:
		return g.chance(50)
	case TimestampColumn:
		return pick(g.random, columnTimes...)
	default:
		return pick(g.random, columnTexts...)
	}
}

// PlanRequest makes a request for a filter: mostly for a policy of the set.
// What is known of the rows is no column.
func (g *Generator) PlanRequest(s *Set) *engine.PlanRequest {
	r := g.Request(s)
	p := &engine.PlanRequest{
		Principal: r.Principal,
		Resource:  engine.Resource{Kind: r.Resource.Kind, PolicyVersion: r.Resource.PolicyVersion, Scope: r.Resource.Scope},
		Actions:   distinct(some(g.random, 1, 2, []string{"view", "view", "edit", "delete", "view:x", "x"})),
		AuxData:   r.AuxData,
		Now:       r.Now,
	}
	if g.table != nil && g.chance(85) {
		g.aim(s, p)
	}
	known := value.Attributes{}
	for _, a := range attributes {
		if g.table.column(a.name) == nil && g.chance(20) {
			known[a.name] = a.of(g)
		}
	}
	if len(known) > 0 {
		p.Resource.Attr = known
	}
	return p
}

// aim makes a request one that some rule of a resource policy allows, if its
// condition holds and nothing else denies it.
func (g *Generator) aim(s *Set, p *engine.PlanRequest) {
	var targets []*policy.ResourcePolicy
	for _, of := range s.Policies {
		if of.Resource != nil && !of.Disabled && len(of.Resource.Rules) > 0 {
			targets = append(targets, of.Resource)
		}
	}
	if len(targets) == 0 {
		return
	}
	target := pick(g.random, targets...)
	p.Resource.Kind, p.Resource.PolicyVersion, p.Resource.Scope = target.Resource.Value, target.Version.Value, target.Scope.Value
	if p.Resource.Scope == "" {
		p.Resource.Scope = "."
	}
	rule := pick(g.random, target.Rules...)
	if action := pick(g.random, rule.Actions...).Value; !strings.Contains(action, "*") {
		p.Actions = []string{action}
	}
	if len(rule.Roles) == 0 {
		return
	}
	if role := pick(g.random, rule.Roles...).Value; !strings.Contains(role, "*") && !slices.Contains(p.Principal.Roles, role) {
		p.Principal.Roles[g.IntN(len(p.Principal.Roles))] = role
	}
}

// RowRequest gives the request that asks for the decision on a row.
func (t *Table) RowRequest(p *engine.PlanRequest, r Row) *engine.Request {
	return &engine.Request{Principal: p.Principal, Resource: t.Resource(p.Resource, r), Actions: p.Actions, AuxData: p.AuxData, Now: p.Now}
}

// columnOf gives a column, of one of some types if there is any of them.
func (g *grammar) columnOf(of ...ColumnType) (Column, string) {
	var columns []Column
	for _, c := range g.table.Columns {
		for _, t := range of {
			if c.Type == t {
				columns = append(columns, c)
			}
		}
	}
	if len(columns) == 0 {
		columns = g.table.Columns
	}
	c := pick(g.random, columns...)
	return c, g.read(c)
}

// read gives a read of a column, in one of its spellings.
func (g *grammar) read(c Column) string {
	switch {
	case g.chance(80):
		return "R.attr." + field(c.Name)
	case g.chance(50):
		return "request.resource.attr." + field(c.Name)
	default:
		return "R.attr[" + quote(c.Name) + "]"
	}
}

// ofRows derives a truth about a row.
func (g *grammar) ofRows(depth int) string {
	if depth <= 0 || g.chance(35) {
		return g.ofRow()
	}
	d := depth - 1
	truth := func() string { return parenthesized(g.ofRows(d)) }
	return g.oneOf(
		func() string { return truth() + " && " + truth() },
		func() string { return truth() + " && " + truth() + " && " + truth() },
		func() string { return truth() + " || " + truth() },
		func() string { return truth() + " || " + truth() + " || " + truth() },
		func() string { return "!" + truth() },
		func() string { return truth() + " ? " + truth() + " : " + truth() },
		func() string {
			c, _ := g.columnOf()
			return "has(R.attr." + field(c.Name) + ") && " + truth()
		},
		func() string {
			c, _ := g.columnOf()
			return "!has(R.attr." + field(c.Name) + ") || " + truth()
		},
		func() string {
			_, read := g.columnOf()
			return read + pick(g.random, " == null || ", " != null && ") + truth()
		},
	)
}

// ofRow derives a truth about one column, mostly.
func (g *grammar) ofRow() string {
	any, read := g.columnOf()
	switch g.IntN(16) {
	case 0:
		return "has(R.attr." + field(any.Name) + ")"
	case 1:
		return read + pick(g.random, " == ", " != ") + pick(g.random, "null", g.literal(g.scalarType()))
	case 2:
		_, other := g.columnOf()
		return read + pick(g.random, " == ", " != ", " < ", " >= ") + other
	case 3:
		return g.oneOf(
			func() string { return read },
			func() string {
				return read + " " + g.relation() + " " + g.literal(pick(g.random, typeBool, typeInt, typeDouble, typeString))
			},
			func() string {
				return read + " in [" + g.literal(g.scalarType()) + `, dyn("amy"), ` + g.literal(typeDouble) + "]"
			},
			func() string { return read + " in P.attr.mixed" },
			func() string { return "P.attr.mixed.exists(x, x == " + read + ")" },
		)
	case 4:
		if len(g.variables) > 0 {
			v := "V." + pick(g.random, g.variables...)
			return pick(g.random, v, "!"+v, v+" == "+read, "has("+v+")", v+" && "+read)
		}
		return g.known() + " == " + read
	case 5:
		return g.oneOf(
			func() string { return `"admin" in P.roles` },
			func() string { return "P.attr." + pick(g.random, "flag", "level", "owner") },
			func() string { return "P.attr.level > 2.0" },
			func() string { return g.known() + " == " + g.known() },
			func() string { return pick(g.random, "true", "false") },
		)
	case 6:
		return g.oneOf(
			func() string { return "R.id == " + pick(g.random, "P.id", `"r1"`, `"amy"`) },
			func() string { return `R.id.startsWith("r1")` },
			func() string { return "R.id in P.attr.tags" },
			func() string { return "R.attr.nowhere == " + read },
			func() string { return quote(any.Name) + " in R.attr" },
			g.everyKind,
		)
	}
	switch any.Type {
	case StringColumn:
		return g.ofText(read)
	case IntColumn, DoubleColumn:
		return g.ofNumber(read)
	case BoolColumn:
		_, other := g.columnOf(BoolColumn)
		return pick(g.random, read, read, "!"+read, read+" == true", read+" != false", read+" == "+other, read+" || !"+other, read+" && "+other,
			read+" == P.attr.flag", read+" < true", read+" ? "+other+" : !"+other)
	default:
		return g.ofTime(read)
	}
}

// known gives a value that is known before any row is.
func (g *grammar) known() string {
	return g.oneOf(
		func() string { return "dyn(P.id)" },
		func() string { return "P.attr." + pick(g.random, attributes...).name },
		func() string { return "G." + pick(g.random, globalNames...) },
		func() string {
			if len(g.constants) == 0 {
				return "P.attr.owner"
			}
			return "C." + pick(g.random, g.constants...)
		},
		func() string { return "dyn(" + g.literal(g.scalarType()) + ")" },
	)
}

func (g *grammar) ofText(read string) string {
	word := func() string { return quote(pick(g.random, columnTexts...)) }
	_, other := g.columnOf(StringColumn)
	return g.oneOf(
		func() string { return read + pick(g.random, " == ", " != ") + word() },
		func() string {
			return read + pick(g.random, " == ", " != ") + pick(g.random, "P.id", "P.attr.owner", "P.attr.team")
		},
		func() string { return read + " " + g.relation() + " " + word() },
		func() string { return read + " in [" + word() + ", " + word() + ", " + word() + "]" },
		func() string { return "!(" + read + " in [" + word() + "])" },
		func() string {
			return read + pick(g.random, " in P.attr.tags", " in P.roles", " in G.teams", " in {\"amy\": 1, \"a_b\": 2}")
		},
		func() string {
			return read + "." + pick(g.random, "startsWith", "endsWith", "contains") + "(" + pick(g.random, word(), word(), "P.id", other) + ")"
		},
		func() string {
			return "P.id." + pick(g.random, "startsWith", "endsWith", "contains") + "(" + read + ")"
		},
		func() string { return "size(" + read + ") " + g.relation() + " " + strconv.Itoa(g.IntN(5)) },
		func() string { return read + ".size() == " + strconv.Itoa(g.IntN(5)) },
		func() string { return read + " + " + word() + " == " + pick(g.random, word(), other) },
		func() string { return read + pick(g.random, " == ", " != ", " < ", " >= ") + other },
		func() string {
			return "P.attr.tags." + pick(g.random, "exists(t, t == ", "all(t, t != ", "exists_one(t, t == ", "exists(t, "+read+".startsWith(t) || t == ") + read + ")"
		},
		func() string { return "P.attr.tags.exists(t, t.startsWith(" + read + "))" },
		func() string { return g.everyKindOfText(read, word) },
	)
}

// everyKindOfText derives what filters of databases rarely have.
func (g *grammar) everyKindOfText(read string, word func() string) string {
	return g.oneOf(
		func() string { return read + `.matches("^[a-z]+$")` },
		func() string { return read + pick(g.random, ".lowerAscii()", ".upperAscii()") + " == " + word() },
		func() string { return `{"amy": 1, "bob": 2}[` + read + "] > 1" },
		func() string { return "P.attr.nested[" + read + "] == 1.0" },
		func() string { return read + ".charAt(0) == " + word() },
		func() string { return "timestamp(" + read + ") < now()" },
		func() string { return "double(" + read + ") == 1.0" },
	)
}

func (g *grammar) everyKind() string {
	_, read := g.columnOf()
	return g.oneOf(
		func() string { return "type(" + read + ") == string" },
		func() string { return "string(" + read + ") == \"1\"" },
		func() string { return "[" + read + ", P.id].exists(x, x == \"amy\")" },
		func() string { return "R.attr.tags.exists(t, t == " + read + ")" },
		func() string { return "size(R.attr) > 2" },
		func() string { return "R.attr[P.attr.key] == " + read },
	)
}

func (g *grammar) ofNumber(read string) string {
	number := func() string { return g.literal(pick(g.random, typeDouble, typeDouble, typeInt)) }
	_, other := g.columnOf(IntColumn, DoubleColumn)
	small := func() string { return pick(g.random, "1.0", "2.0", "0.5", "-1.0", "3.0", "0.0") }
	return g.oneOf(
		func() string { return read + pick(g.random, " == ", " != ") + number() },
		func() string { return read + " " + g.relation() + " " + number() },
		func() string { return small() + " " + g.relation() + " " + read },
		func() string {
			return read + " " + g.relation() + " " + pick(g.random, "P.attr.n", "P.attr.level", "G.n", "G.f")
		},
		func() string { return read + " in [" + pick(g.random, "1, 2, 3", "1.0, 1.5, 100.0", "7") + "]" },
		func() string { return read + pick(g.random, " in P.attr.nums", " in P.attr.mixed", " in P.attr.tags") },
		func() string {
			return read + pick(g.random, " + ", " - ", " * ") + small() + " " + g.relation() + " " + number()
		},
		func() string {
			return read + pick(g.random, " + ", " - ", " * ") + other + pick(g.random, " == ", " > ", " <= ") + small()
		},
		func() string {
			return read + pick(g.random, " + ", " - ", " * ") + pick(g.random, "P.attr.n", "P.attr.level", "G.f") + " > " + small()
		},
		func() string { return read + pick(g.random, " == ", " != ", " < ", " >= ") + other },
		func() string {
			return "P.attr.nums." + pick(g.random, "exists(n, n >= ", "all(n, n < ", "exists_one(n, n == ") + read + ")"
		},
		func() string {
			return pick(g.random,
				read+" + 1 > 2", "-"+read+" < 0.0", read+" / 2.0 > 1.0", read+" / "+other+" >= 1.0", read+" % P.attr.n == 0.0", read+" % 2 == 0", "int("+read+") == 1",
				"int("+read+") % 2 == 0", "size("+read+") > 0", read+".startsWith(\"1\")", "math.greatest("+read+", 2.0) == 2.0", "string("+read+") == \"1\"")
		},
	)
}

func (g *grammar) ofTime(read string) string {
	time := "timestamp(" + read + ")"
	_, second := g.columnOf(TimestampColumn)
	second = "timestamp(" + second + ")"
	moment := func() string {
		return pick(g.random, "now()", "now()", `timestamp("2024-05-01T10:00:00Z")`, `timestamp("2024-05-01T12:00:00+02:00")`, "timestamp(P.attr.when)")
	}
	period := func() string { return "duration(" + pick(g.random, `"24h"`, `"0s"`, `"90m"`, `"-1h"`, `"1.5s"`) + ")" }
	return g.oneOf(
		func() string { return time + " " + g.relation() + " " + moment() },
		func() string { return time + pick(g.random, " == ", " != ") + moment() },
		func() string { return moment() + " - " + time + " " + g.relation() + " " + period() },
		func() string { return time + ".timeSince() " + g.relation() + " " + period() },
		func() string {
			return time + pick(g.random, " + ", " - ") + period() + " " + g.relation() + " " + moment()
		},
		func() string { return time + " " + g.relation() + " " + second },
		func() string { return time + " - " + second + " " + g.relation() + " " + period() },
		func() string { return read + pick(g.random, " == null", " != null") },
		func() string {
			return pick(g.random, time+".getFullYear() == 2024", read+`.startsWith("2024")`, read+" == \"2024-05-01T10:00:00Z\"", read+" < \"2024\"", time+".getHours() >= 10",
				"int("+time+") > 0", read+" == "+strings.TrimSuffix(strings.TrimPrefix(second, "timestamp("), ")"))
		},
	)
}
