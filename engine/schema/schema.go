package schema

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"edict/engine/value"
)

// maxDepth is how deep attributes may be nested to be validated. What Cerbos
// takes is bounded by its decoders alone, which stop at ten thousand levels.
const maxDepth = 500

// maxPaths bounds the paths to all values of attributes together, in bytes. The
// library makes a text of each: a long name with many members below it would take
// more memory than there is.
const maxPaths = 32 << 20

// maxFailures is how many failures of one validation are reported.
const maxFailures = 1000

// A Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	rule     *rule
	root     Shape
}

func newSchema(compiled *jsonschema.Schema) *Schema {
	return &Schema{
		compiled: compiled,
		rule:     rules{}.of(compiled),
		root:     meet(shapeOf(compiled), anything().only(Object)).named(),
	}
}

// A Failure is one way in which attributes do not conform to a schema.
type Failure struct {
	// Path is the JSON pointer to the attribute, percent-encoded as in a URL;
	// "/" for the attributes as a whole.
	Path string
	// Message says what is wrong, in the words of Cerbos.
	Message string
}

// Validate checks attributes, of which nil means that there are none. No
// failures mean that they conform. With ignoreMissing, properties that the
// schema requires may be missing, at any level. The order is that of paths and
// messages; what comes after the first thousand failures is left out.
func (s *Schema) Validate(attrs value.Mapping, ignoreMissing bool) []Failure {
	if attrs == nil {
		attrs = value.Values(nil)
	}
	if s.conforms(attrs) {
		return nil
	}
	return s.failures(attrs, ignoreMissing)
}

// conforms tells whether attributes certainly conform. A panic in one of the
// library's formats leaves them to the library, where it counts as a failure.
func (s *Schema) conforms(attrs value.Mapping) (certainly bool) {
	defer func() {
		if recover() != nil {
			certainly = false
		}
	}()
	return s.rule.holds(value.OfMapping(attrs), 0)
}

// failures asks the library.
func (s *Schema) failures(attrs value.Mapping, ignoreMissing bool) []Failure {
	var c converter
	document := c.mapping(attrs)
	if c.failure != nil {
		return []Failure{*c.failure}
	}
	err := s.validate(document)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []Failure{{Path: "/", Message: "cannot be validated: " + strings.TrimPrefix(err.Error(), "jsonschema: ")}}
	}
	var failures []Failure
	for cause := range causes(invalid) {
		if !ignoreMissing || !isMissing(cause) {
			failures = append(failures, Failure{Path: pointerOrRoot(cause.InstanceLocation), Message: stable(cause.Message)})
		}
	}
	slices.SortFunc(failures, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return failures[:min(len(failures), maxFailures)]
}

// validate makes an error of a panic of the library, so that a schema that it
// trips over fails closed.
func (s *Schema) validate(document any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return s.compiled.Validate(document)
}

// causes gives the causes of e that have no causes themselves.
func causes(e *jsonschema.ValidationError) iter.Seq[*jsonschema.ValidationError] {
	return func(yield func(*jsonschema.ValidationError) bool) { yieldCauses(e, yield) }
}

func yieldCauses(e *jsonschema.ValidationError, yield func(*jsonschema.ValidationError) bool) bool {
	if len(e.Causes) == 0 {
		return yield(e)
	}
	for _, cause := range e.Causes {
		if !yieldCauses(cause, yield) {
			return false
		}
	}
	return true
}

// isMissing tells whether e is a failure of the keyword "required". The message
// tells it from a property of that name whose schema is false.
func isMissing(e *jsonschema.ValidationError) bool {
	return strings.HasSuffix(e.KeywordLocation, "/required") && strings.HasPrefix(e.Message, "missing properties: ")
}

func pointerOrRoot(pointer string) string { return cmp.Or(pointer, "/") }

// stable gives the message of a failure. The library lists additional
// properties in the order of a Go map; here they are sorted.
func stable(message string) string {
	names, ok := strings.CutPrefix(message, "additionalProperties '")
	if !ok {
		return message
	}
	names, ok = strings.CutSuffix(names, "' not allowed")
	if !ok {
		return message
	}
	// A quote inside of a name has a backslash before it, so this splits at the
	// boundaries of names alone.
	sorted := strings.Split(names, "', '")
	slices.Sort(sorted)
	return "additionalProperties '" + strings.Join(sorted, "', '") + "' not allowed"
}

// A converter makes plain JSON data of values. It stops at the first value that
// JSON has not.
type converter struct {
	path    []step // to the value at hand
	length  int    // of that path, about, in bytes
	paths   int    // the lengths of all paths so far
	failure *Failure
}

// A step leads to a member of an object or, without a name, of an array.
type step struct {
	name  string
	index int
}

func (c *converter) fail(format string, args ...any) any {
	if c.failure == nil {
		c.failure = &Failure{Path: c.pointer(), Message: fmt.Sprintf(format, args...)}
	}
	return nil
}

// pointer gives the path to the value at hand in the form of Failure.Path.
func (c *converter) pointer() string {
	if len(c.path) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, s := range c.path {
		b.WriteByte('/')
		if s.index >= 0 {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			b.WriteString(url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(s.name)))
		}
	}
	return b.String()
}

func (c *converter) mapping(m value.Mapping) any {
	object := make(map[string]any, m.Len())
	for key, v := range m.Range {
		object[key] = c.member(step{name: key, index: -1}, v)
		if c.failure != nil {
			return nil
		}
	}
	return object
}

func (c *converter) sequence(s value.Sequence) any {
	array := make([]any, s.Len())
	for i := range array {
		array[i] = c.member(step{index: i}, s.At(i))
		if c.failure != nil {
			return nil
		}
	}
	return array
}

func (c *converter) member(to step, v value.Value) any {
	c.path = append(c.path, to)
	if len(c.path) > maxDepth {
		return c.fail("nested deeper than %d levels", maxDepth)
	}
	size := 1 + max(1, len(to.name))
	c.length += size
	if c.paths += c.length; c.paths > maxPaths {
		c.failure = &Failure{Path: "/", Message: fmt.Sprintf("the paths to all values take more than %d bytes", maxPaths)}
		return nil
	}
	converted := c.value(v)
	c.path, c.length = c.path[:len(c.path)-1], c.length-size
	return converted
}

// value converts v. Attributes hold the kinds of JSON alone, whose numbers are
// doubles; the others are here to fail closed, should they ever come.
func (c *converter) value(v value.Value) any {
	switch v.Kind() {
	case value.Null:
		return nil
	case value.Bool:
		return v.Bool()
	case value.Double:
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return c.fail("%v is not a number in JSON", f)
		}
		return v.Double()
	case value.Int:
		return v.Int()
	case value.Uint:
		return v.Uint()
	case value.String:
		return v.Str()
	case value.List:
		return c.sequence(v.Sequence())
	case value.Map:
		return c.mapping(v.Mapping())
	default:
		return c.fail("expected a JSON value, but got %s", v.Kind())
	}
}
