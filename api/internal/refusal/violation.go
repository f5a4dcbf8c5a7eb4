package refusal

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"edict/api/cerbospb"
)

// What fields hold, as violations tell it.
const (
	typeMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	typeString  = descriptorpb.FieldDescriptorProto_TYPE_STRING
	typeBool    = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	typeNumber  = descriptorpb.FieldDescriptorProto_TYPE_UINT64
)

// A Place is a field of a request, or one item of it. It is made where a rule is
// looked at and turned into a path only if the rule is broken.
type Place struct {
	In     *Place // the field that it is a part of; nil: the request has it
	Number int32
	Name   string // in snake case
	Text   bool   // it holds texts, and no messages

	item  int    // 1 + index of the item of a list; 0: the field itself
	keyed bool   // it is an entry of a map
	key   string // of that entry
}

// At gives one item of a list.
func (p Place) At(index int) Place {
	p.item = index + 1
	return p
}

// Under gives one entry of a map.
func (p Place) Under(key string) Place {
	p.keyed, p.key = true, key
	return p
}

// append appends the path to dst as violations have it, and to text as people
// read it. It copies texts, so that a Place which breaks no rule need not be on
// the heap.
func (p *Place) append(dst []*cerbospb.FieldPathElement, text *strings.Builder) []*cerbospb.FieldPathElement {
	if p.In != nil {
		dst = p.In.append(dst, text)
		text.WriteByte('.')
	}
	text.WriteString(p.Name)
	kind := typeMessage
	if p.Text {
		kind = typeString
	}
	e := &cerbospb.FieldPathElement{FieldNumber: proto.Int32(p.Number), FieldName: proto.String(strings.Clone(p.Name)), FieldType: kind.Enum()}
	switch {
	case p.item > 0:
		fmt.Fprintf(text, "[%d]", p.item-1)
		e.Subscript = &cerbospb.FieldPathElement_Index{Index: uint64(p.item - 1)}
	case p.keyed:
		key := strings.Clone(Clip(p.key))
		text.WriteString("[" + strconv.Quote(key) + "]")
		e.KeyType, e.ValueType = typeString.Enum(), typeMessage.Enum()
		e.Subscript = &cerbospb.FieldPathElement_StringKey{StringKey: key}
	}
	return append(dst, e)
}

// A Rule is one that a field can break, by its name in protovalidate.
type Rule struct {
	id, message string
	forKey      bool
	path        []step
}

// A step leads to a rule among the options of a field (buf/validate/validate.proto).
type step struct {
	number int32
	name   string
	kind   descriptorpb.FieldDescriptorProto_Type
}

// Required is the rule of what must be there, and not be empty.
func Required() *Rule { return &required }

// Unique is the rule of a list without anything twice.
func Unique() *Rule { return &unique }

// Item is the rule of a list without empty texts.
func Item() *Rule { return &item }

// Key is the rule of a map without an empty key.
func Key() *Rule { return &key }

var (
	required = Rule{id: "required", message: "value is required", path: []step{{25, "required", typeBool}}}
	unique   = Rule{id: "repeated.unique", message: "repeated value must contain unique items",
		path: []step{{18, "repeated", typeMessage}, {3, "unique", typeBool}}}
	item = Rule{id: "string.min_len", message: "must be at least 1 characters",
		path: []step{{18, "repeated", typeMessage}, {4, "items", typeMessage}, {14, "string", typeMessage}, {2, "min_len", typeNumber}}}
	key = Rule{id: "string.min_len", message: "must be at least 1 characters", forKey: true,
		path: []step{{19, "map", typeMessage}, {4, "keys", typeMessage}, {14, "string", typeMessage}, {2, "min_len", typeNumber}}}
)

// Pattern is the rule of a text that must match a regular expression.
func Pattern(pattern string) *Rule {
	return &Rule{id: "string.pattern", message: "does not match regex pattern `" + pattern + "`",
		path: []step{{14, "string", typeMessage}, {6, "pattern", typeString}}}
}

// OneOf is the rule of a text that must be one of some.
func OneOf(texts ...string) *Rule {
	return &Rule{id: "string.in", message: "must be in list [" + strings.Join(texts, ", ") + "]",
		path: []step{{14, "string", typeMessage}, {10, "in", typeString}}}
}

// AtLeast is the rule of a list with so many items or more.
func AtLeast(n int) *Rule {
	return &Rule{id: "repeated.min_items", message: fmt.Sprintf("must contain at least %d item(s)", n),
		path: []step{{18, "repeated", typeMessage}, {1, "min_items", typeNumber}}}
}

// AtMost is the rule of a list with so many items or fewer.
func AtMost(n int) *Rule {
	return &Rule{id: "repeated.max_items", message: fmt.Sprintf("must contain no more than %d item(s)", n),
		path: []step{{18, "repeated", typeMessage}, {2, "max_items", typeNumber}}}
}

// Whole is a rule of a message of its own.
func Whole(id, message string) *Rule { return &Rule{id: id, message: message} }

// mostViolations is how many violations an error tells. Clients of gRPC take no
// more than a few kilobytes of an error.
const mostViolations = 10

// Violations are the rules that a request breaks. The zero value is none.
type Violations struct {
	list  []*cerbospb.Violation
	lines []string
	more  int // that are not told
}

// Add notes that a rule is broken at a place, or by the request as a whole if
// that is nil.
func (v *Violations) Add(at *Place, r *Rule) {
	if len(v.list) == mostViolations {
		v.more++
		return
	}
	out := &cerbospb.Violation{RuleId: proto.String(r.id), Message: proto.String(r.message)}
	line := r.message
	if at != nil {
		var text strings.Builder
		out.Field = &cerbospb.FieldPath{Elements: at.append(nil, &text)}
		line = text.String() + ": " + line
	}
	if r.forKey {
		out.ForKey = proto.Bool(true)
	}
	if r.path != nil {
		out.Rule = new(cerbospb.FieldPath)
		for _, e := range r.path {
			out.Rule.Elements = append(out.Rule.Elements, &cerbospb.FieldPathElement{
				FieldNumber: proto.Int32(e.number), FieldName: proto.String(e.name), FieldType: e.kind.Enum(),
			})
		}
	}
	v.list = append(v.list, out)
	v.lines = append(v.lines, line)
}

// Text looks at a text that must not be empty.
func (v *Violations) Text(at *Place, s string) {
	if s == "" {
		v.Add(at, &required)
	}
}

// Any tells whether any rule is broken.
func (v *Violations) Any() bool { return v.list != nil }

// Err gives the error of a request that breaks rules, nil if it breaks none.
func (v *Violations) Err() error {
	if len(v.list) == 0 {
		return nil
	}
	message := "validation error: " + v.lines[0]
	if len(v.lines) > 1 {
		message = "validation errors:\n - " + strings.Join(v.lines, "\n - ")
	}
	if v.more > 0 {
		message += fmt.Sprintf("\n - and %d more", v.more)
	}
	st := status.New(codes.InvalidArgument, message)
	if detailed, err := st.WithDetails(&cerbospb.Violations{Violations: v.list}); err == nil {
		st = detailed
	}
	return st.Err()
}
