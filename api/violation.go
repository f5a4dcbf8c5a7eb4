package api

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

// A place is a field of a request, or one item of it. It is made where a rule is
// looked at and turned into a path only if the rule is broken.
type place struct {
	in     *place // the field that it is a part of; nil: the request has it
	number int32
	name   string
	text   bool // it holds texts, and no messages

	item  int     // 1 + index of the item of a list; 0: the field itself
	keyed *string // key of the entry of a map; nil: the field itself
}

// at gives one item of a list.
func (p place) at(index int) place {
	p.item = index + 1
	return p
}

// under gives one entry of a map.
func (p place) under(key string) place {
	p.keyed = &key
	return p
}

// append appends the path to dst as violations have it, and to text as people
// read it.
func (p *place) append(dst []*cerbospb.FieldPathElement, text *strings.Builder) []*cerbospb.FieldPathElement {
	if p.in != nil {
		dst = p.in.append(dst, text)
		text.WriteByte('.')
	}
	text.WriteString(p.name)
	kind := typeMessage
	if p.text {
		kind = typeString
	}
	e := &cerbospb.FieldPathElement{FieldNumber: proto.Int32(p.number), FieldName: proto.String(p.name), FieldType: kind.Enum()}
	switch {
	case p.item > 0:
		fmt.Fprintf(text, "[%d]", p.item-1)
		e.Subscript = &cerbospb.FieldPathElement_Index{Index: uint64(p.item - 1)}
	case p.keyed != nil:
		key := clip(*p.keyed)
		text.WriteString("[" + strconv.Quote(key) + "]")
		e.KeyType, e.ValueType = typeString.Enum(), typeMessage.Enum()
		e.Subscript = &cerbospb.FieldPathElement_StringKey{StringKey: key}
	}
	return append(dst, e)
}

// A rule is one that a field can break, by its name in protovalidate.
type rule struct {
	id, message string
	forKey      bool
	path        []ruleElement
}

type ruleElement struct {
	number int32
	name   string
	kind   descriptorpb.FieldDescriptorProto_Type
}

var (
	ruleRequired = rule{id: "required", message: "value is required", path: []ruleElement{{25, "required", typeBool}}}
	ruleUnique   = rule{id: "repeated.unique", message: "repeated value must contain unique items",
		path: []ruleElement{{18, "repeated", typeMessage}, {3, "unique", typeBool}}}
	ruleItem = rule{id: "string.min_len", message: "must be at least 1 characters",
		path: []ruleElement{{18, "repeated", typeMessage}, {4, "items", typeMessage}, {14, "string", typeMessage}, {2, "min_len", typeNumber}}}
	ruleKey = rule{id: "string.min_len", message: "must be at least 1 characters", forKey: true,
		path: []ruleElement{{19, "map", typeMessage}, {4, "keys", typeMessage}, {14, "string", typeMessage}, {2, "min_len", typeNumber}}}
	ruleVersion = patternRule(`^[\w]*$`)
	ruleScope   = patternRule(`^(^$|\.|[0-9a-zA-Z][\w\-]*(\.\w[\w\-]*)*)$`)
	rulePlanned = rule{id: "repeated.max_items", message: fmt.Sprintf("must contain no more than %d item(s)", mostPlanned),
		path: []ruleElement{{18, "repeated", typeMessage}, {2, "max_items", typeNumber}}}
	ruleOneJWT    = rule{id: "AuxData.only_one_jwt_field", message: "Only one of the jwt or jwts fields must be set"}
	ruleOneAction = rule{id: "exclusiveFieldsActionOrActions", message: "Exactly one of 'action' or 'actions' field must be set"}
)

// patternRule is the rule of a text that must match a regular expression.
func patternRule(pattern string) rule {
	return rule{id: "string.pattern", message: "does not match regex pattern `" + pattern + "`",
		path: []ruleElement{{14, "string", typeMessage}, {6, "pattern", typeString}}}
}

// mostViolations is how many violations an error tells. Clients of gRPC take no
// more than a few kilobytes of an error.
const mostViolations = 10

// violations are the rules that a request breaks.
type violations struct {
	list  []*cerbospb.Violation
	lines []string
	more  int // that are not told
}

// add notes that a rule is broken at a place, or by the request as a whole if
// that is nil.
func (v *violations) add(at *place, r *rule) {
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

// err gives the error of a request that breaks rules, nil if it breaks none.
func (v *violations) err() error {
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
