package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"edict/engine/value"
)

// A rule is a schema made for one question, asked of almost every request: do
// these attributes certainly conform? It reads values as they are and allocates
// nothing. Its "no" only means that the library has to be asked, so it leaves
// out the keywords that are rare or hard.
type rule struct {
	unsure bool // there is a keyword that rules leave out
	types  Types

	listed bool          // the value must be one of scalars
	scalar []value.Value // of enum or const

	lower, upper         float64
	lowerOpen, upperOpen bool

	minLength, maxLength int
	pattern              *regexp.Regexp
	format               func(any) bool

	minProperties, maxProperties int
	required                     []string
	properties                   []property
	patterns                     []patternProperty
	onlyKnown                    bool  // additionalProperties: false
	additional                   *rule // nil: anything

	minItems, maxItems int
	prefix             []*rule
	items              *rule // of the elements after prefix; nil: anything

	all []*rule
	any [][]*rule // of each, one
}

type property struct {
	name string
	rule *rule
}

type patternProperty struct {
	pattern *regexp.Regexp
	rule    *rule
}

// rules makes each schema a rule once; schemas may refer to each other in
// circles.
type rules map[*jsonschema.Schema]*rule

func (rs rules) of(s *jsonschema.Schema) *rule {
	if r, ok := rs[s]; ok {
		return r
	}
	r := &rule{
		types: typesOf(s),
		lower: math.Inf(-1), upper: math.Inf(1),
		minLength: s.MinLength, maxLength: atMost(s.MaxLength), pattern: s.Pattern,
		minProperties: s.MinProperties, maxProperties: atMost(s.MaxProperties), required: s.Required,
		minItems: s.MinItems, maxItems: atMost(s.MaxItems),
	}
	rs[s] = r
	if s.Always != nil {
		r.unsure = !*s.Always
		return r
	}
	r.unsure = s.RecursiveRef != nil || s.DynamicRef != nil || s.Not != nil || len(s.OneOf) > 0 || s.If != nil ||
		s.PropertyNames != nil || s.RegexProperties || len(s.Dependencies) > 0 || len(s.DependentRequired) > 0 ||
		len(s.DependentSchemas) > 0 || s.UnevaluatedProperties != nil || s.UniqueItems || s.AdditionalItems != nil ||
		s.Contains != nil || s.UnevaluatedItems != nil || s.ContentEncoding != "" || s.ContentMediaType != "" ||
		s.MultipleOf != nil || len(s.Extensions) > 0
	r.list(s.Enum)
	r.list(s.Constant)
	r.lower, r.lowerOpen = r.bound(r.lower, s.Minimum, s.ExclusiveMinimum)
	r.upper, r.upperOpen = r.bound(r.upper, s.Maximum, s.ExclusiveMaximum)
	if s.Format != "" {
		r.format = jsonschema.Formats[s.Format] // nil: not known, and so ignored
	}
	for name, p := range s.Properties {
		r.properties = append(r.properties, property{name, rs.of(p)})
	}
	for pattern, p := range s.PatternProperties {
		r.patterns = append(r.patterns, patternProperty{pattern, rs.of(p)})
	}
	switch additional := s.AdditionalProperties.(type) {
	case bool:
		r.onlyKnown = !additional
	case *jsonschema.Schema:
		r.additional = rs.of(additional)
	}
	for _, item := range s.PrefixItems {
		r.prefix = append(r.prefix, rs.of(item))
	}
	if s.Items2020 != nil {
		r.items = rs.of(s.Items2020)
	}
	switch items := s.Items.(type) {
	case *jsonschema.Schema:
		r.items = rs.of(items)
	case []*jsonschema.Schema:
		for _, item := range items {
			r.prefix = append(r.prefix, rs.of(item))
		}
	}
	if s.Ref != nil {
		r.all = append(r.all, rs.of(s.Ref))
	}
	for _, part := range s.AllOf {
		r.all = append(r.all, rs.of(part))
	}
	if len(s.AnyOf) > 0 {
		var choices []*rule
		for _, choice := range s.AnyOf {
			choices = append(choices, rs.of(choice))
		}
		r.any = append(r.any, choices)
	}
	return r
}

// atMost makes a bound of the library, in which -1 is none, one to compare with.
func atMost(n int) int {
	if n < 0 {
		return math.MaxInt
	}
	return n
}

// list narrows the rule to the scalars that a schema lists.
func (r *rule) list(items []any) {
	if items == nil {
		return
	}
	if r.listed {
		r.unsure = true // enum and const together
		return
	}
	r.listed = true
	for _, item := range items {
		switch item := item.(type) {
		case nil, bool, string:
			r.scalar = append(r.scalar, value.Of(item))
		case json.Number:
			// A number without its own double equals no attribute.
			exact, ok := new(big.Rat).SetString(item.String())
			if f, same := asDouble(exact); ok && same {
				r.scalar = append(r.scalar, value.OfDouble(f))
			}
		}
	}
}

// bound gives the narrower of two bounds, of which at most one is there but in
// odd schemas.
func (r *rule) bound(none float64, inclusive, exclusive *big.Rat) (bound float64, open bool) {
	bound = none
	exact := inclusive
	if exclusive != nil {
		r.unsure = r.unsure || inclusive != nil
		exact, open = exclusive, true
	}
	if exact != nil {
		var same bool
		if bound, same = asDouble(exact); !same {
			r.unsure = true
		}
	}
	return bound, open
}

// asDouble gives the double that stands for a number of a schema. The library
// compares numbers by their shortest decimal text, and comparing doubles comes
// to the same if the number has such a text.
func asDouble(exact *big.Rat) (f float64, same bool) {
	if exact == nil {
		return 0, false
	}
	f, _ = exact.Float64()
	text, ok := new(big.Rat).SetString(fmt.Sprint(f))
	return f, ok && text.Cmp(exact) == 0
}

// holds tells whether v certainly conforms.
func (r *rule) holds(v value.Value, depth int) bool {
	if r.unsure || depth > maxDepth {
		return false
	}
	var valid bool
	switch v.Kind() {
	case value.Null:
		valid = r.types&Null != 0
	case value.Bool:
		valid = r.types&Boolean != 0
	case value.Double:
		valid = r.holdsNumber(v.Double())
	case value.String:
		valid = r.holdsString(v.Str())
	case value.List:
		valid = r.holdsList(v.Sequence(), depth)
	case value.Map:
		return r.holdsMap(v.Mapping(), depth) && r.holdsParts(v, depth)
	}
	return valid && (!r.listed || isScalar(v) && contains(r.scalar, v)) && r.holdsParts(v, depth)
}

func isScalar(v value.Value) bool { return v.Kind() != value.List && v.Kind() != value.Map }

func (r *rule) holdsParts(v value.Value, depth int) bool {
	for _, part := range r.all {
		if !part.holds(v, depth+1) {
			return false
		}
	}
	for _, choices := range r.any {
		if !holdsOne(choices, v, depth+1) {
			return false
		}
	}
	return true
}

func holdsOne(choices []*rule, v value.Value, depth int) bool {
	for _, choice := range choices {
		if choice.holds(v, depth) {
			return true
		}
	}
	return false
}

func (r *rule) holdsNumber(f float64) bool {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	if r.types&Number == 0 && (r.types&Integer == 0 || f != math.Trunc(f)) {
		return false
	}
	return f >= r.lower && f <= r.upper && (!r.lowerOpen || f > r.lower) && (!r.upperOpen || f < r.upper)
}

func (r *rule) holdsString(s string) bool {
	if r.types&String == 0 {
		return false
	}
	if r.minLength > 0 || r.maxLength < math.MaxInt {
		if n := utf8.RuneCountInString(s); n < r.minLength || n > r.maxLength {
			return false
		}
	}
	return (r.pattern == nil || r.pattern.MatchString(s)) && (r.format == nil || r.format(s))
}

func (r *rule) holdsList(s value.Sequence, depth int) bool {
	n := s.Len()
	if r.types&Array == 0 || n < r.minItems || n > r.maxItems {
		return false
	}
	for i, item := range r.prefix[:min(n, len(r.prefix))] {
		if !item.holds(s.At(i), depth+1) {
			return false
		}
	}
	if r.items == nil {
		return true
	}
	for i := len(r.prefix); i < n; i++ {
		if !r.items.holds(s.At(i), depth+1) {
			return false
		}
	}
	return true
}

func (r *rule) holdsMap(m value.Mapping, depth int) bool {
	n := m.Len()
	if r.types&Object == 0 || r.listed || n < r.minProperties || n > r.maxProperties {
		return false
	}
	for _, name := range r.required {
		if _, ok := m.Lookup(name); !ok {
			return false
		}
	}
	known := 0
	for _, p := range r.properties {
		if v, ok := m.Lookup(p.name); ok {
			known++
			if !p.rule.holds(v, depth+1) {
				return false
			}
		}
	}
	switch {
	case r.patterns != nil:
		return r.holdsOthers(m, depth)
	case known == n:
		return true
	case r.additional != nil:
		return r.holdsOthers(m, depth)
	default:
		return !r.onlyKnown
	}
}

// holdsOthers judges properties by the keywords that go by more than a name.
func (r *rule) holdsOthers(m value.Mapping, depth int) bool {
	for name, v := range m.Range {
		known := false
		for _, p := range r.properties {
			known = known || p.name == name
		}
		for _, p := range r.patterns {
			if p.pattern.MatchString(name) {
				known = true
				if !p.rule.holds(v, depth+1) {
					return false
				}
			}
		}
		if !known && (r.onlyKnown || r.additional != nil && !r.additional.holds(v, depth+1)) {
			return false
		}
	}
	return true
}
