package extauthz

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"edict/engine/value"
	"edict/extauthz/formbody"
	"edict/extauthz/grpcbody"
	"edict/extauthz/strictjson"
)

// bodyLimits bound a JSON body. A condition may compare each value with each
// other, so their number bounds what a client can make a check cost.
var bodyLimits = strictjson.Limits{Depth: 64, Tokens: 2_000}

// partialBody is the header in which Envoy tells whether it cut the body.
const partialBody = "x-envoy-auth-partial-body"

// limitExtension is the context extension that tells Envoy's
// max_request_bytes for a route.
const limitExtension = "body_limit"

// The formats of bodies.
const (
	bodyJSON = "json"
	bodyForm = "form"
	bodyGRPC = "grpc"
)

// bodyRules say how a route reads bodies. The zero bodyRules reads each format
// by its own content-types.
type bodyRules struct {
	format        string   // the only one that the route reads; "": any
	contentTypes  []string // that are of the format, too
	limit         int      // Envoy's max_request_bytes; 0: that of the options
	ignoreUnknown bool     // fields that descriptors do not know
}

// body gives request.body, read once and only when asked for. A body that is
// missing, cut, encoded, or not strictly in its format ends the request,
// whatever the expression that asked does about it.
func (x *exchange) body() value.Value {
	if x.parsedBody.Kind() == value.Absent {
		v, o, err := x.readBody()
		if err != nil {
			x.err = err
			v = value.OfError(x.refuse(o, o.String()))
		}
		x.parsedBody = v
	}
	return x.parsedBody
}

// bodyLists gives request.bodyLists: the fields of a form as lists.
func (x *exchange) bodyLists() value.Value {
	switch v := x.body(); {
	case v.Kind() == value.Error:
		return v
	case x.fields == nil:
		x.err = errors.New("request.bodyLists was read, and the body is no form")
		return value.OfError(x.refuse(BodyUnsupported, BodyUnsupported.String()))
	}
	return value.OfMapping(x.fields.Lists())
}

func (x *exchange) readBody() (value.Value, Outcome, error) {
	none := value.Value{}
	body, raw := x.in.Body()
	if len(body) == 0 {
		return none, BodyMissing, errors.New("there is no body; does Envoy send it (with_request_body)?")
	}
	if !raw { // Envoy has replaced the bytes that are not UTF-8
		return none, BodyUnsupported, errors.New("the body came as text; set pack_as_bytes")
	}
	if !x.bodyIsWhole(len(body)) {
		return none, BodyIncomplete, fmt.Errorf("the body may have been cut at %d bytes", len(body))
	}
	if encoding, _ := x.in.Header("content-encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return none, BodyUnsupported, errors.New("the body has a content-encoding")
	}
	contentType, _ := x.in.Header("content-type")
	rules := &x.route.body
	format, boundary := rules.formatOf(contentType)
	switch {
	case format == "":
		return none, BodyUnsupported, errors.New("the content-type is of no format that is read")
	case rules.format != "" && rules.format != format:
		return none, BodyUnsupported, fmt.Errorf("the route reads %s, and the content-type is of %s", rules.format, format)
	}
	v, err := none, error(nil)
	switch format {
	case bodyJSON:
		v, err = strictjson.ParseObjects(body, bodyLimits, x.newObject)
	case bodyForm:
		if boundary == "" {
			x.fields, err = formbody.ParseURLEncoded(body)
		} else {
			x.fields, err = formbody.ParseMultipart(body, boundary)
		}
		v = value.OfMapping((*formView)(x))
	default:
		method := x.rev.options.Descriptors.Method(x.in.Path())
		if method == nil {
			return none, BodyUnsupported, errors.New("no descriptor set has the method (body.protoDescriptors)")
		}
		v, err = method.Decode(body, rules.ignoreUnknown)
		if errors.Is(err, grpcbody.ErrStreamed) || errors.Is(err, grpcbody.ErrCompressed) {
			return none, BodyUnsupported, fmt.Errorf("the body is not read: %w", err)
		}
	}
	if err != nil {
		return none, BodyMalformed, fmt.Errorf("the body is not sound %s: %w", format, err)
	}
	return v, Allowed, nil
}

// bodyIsWhole tells whether n bytes are all of the body. Envoy says "not cut"
// also of a body that filled its buffer to the last byte and goes on, so that
// a body of the limit's size is whole only if its declared length says so.
func (x *exchange) bodyIsWhole(n int) bool {
	if partial, count := x.in.Header(partialBody); count > 0 && partial != "false" {
		return false
	}
	if declared, count := x.in.Header("content-length"); count > 0 {
		length, err := strconv.ParseUint(declared, 10, 63)
		return err == nil && length == uint64(n)
	}
	limit := x.rev.options.BodyLimit
	if x.route.body.limit > 0 {
		limit = x.route.body.limit
	}
	if text, ok := x.in.ContextExtension(limitExtension); ok {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return false
		}
	}
	return n < limit
}

// formatOf gives the format of a content-type, parameters and all, "" if it is
// of none, and of a multipart form its boundary. It is compared exactly: what
// one server takes for JSON another may not (text/plain; application/json).
func (r *bodyRules) formatOf(contentType string) (format, boundary string) {
	switch contentType { // as nearly all write them
	case "application/json":
		return bodyJSON, ""
	case "application/grpc", "application/grpc+proto":
		return bodyGRPC, ""
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", ""
	}
	if media == "multipart/form-data" {
		boundary = params["boundary"]
		if len(params) != 1 || boundary == "" {
			return "", ""
		}
		return bodyForm, boundary
	}
	if !utf8Charset(params) {
		return "", ""
	}
	switch {
	case media == "application/json":
		return bodyJSON, ""
	case media == "application/x-www-form-urlencoded":
		return bodyForm, ""
	case slices.Contains(r.contentTypes, media):
		return r.format, ""
	}
	return "", ""
}

func utf8Charset(params map[string]string) bool {
	for name, v := range params {
		if name != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	return true
}

// A jsonObject shows an object of a JSON body. To ask for a name of which there
// is another spelling in upper and lower case refuses the request: readers that
// ignore case, such as Go's encoding/json, may take the one for the other.
type jsonObject struct {
	value.Values
	x      *exchange
	folded map[string]int // how many names fold to one; nil: not counted
}

// newObject gives the view of an object. Those of a small body take the place
// that the exchange has for them.
func (x *exchange) newObject(members value.Values) value.Mapping {
	for i := range x.objects {
		if o := &x.objects[i]; o.x == nil {
			o.Values, o.x = members, x
			return o
		}
	}
	return &jsonObject{Values: members, x: x}
}

// manyNames is the number of names from which on they are counted once, rather
// than compared each time.
const manyNames = 16

// Lookup implements value.Mapping.
func (o *jsonObject) Lookup(name string) (value.Value, bool) {
	v, ok := o.Values[name]
	if o.hasTwin(name, ok) {
		o.x.err = errors.New("an object of the body has a name that differs from one that is read only in case")
		return value.OfError(o.x.refuse(BodyMalformed, "body_name_case")), true
	}
	return v, ok
}

func (o *jsonObject) hasTwin(name string, present bool) bool {
	if len(o.Values) <= manyNames {
		for other := range o.Values {
			if other != name && strings.EqualFold(other, name) {
				return true
			}
		}
		return false
	}
	if o.folded == nil {
		o.folded = make(map[string]int, len(o.Values))
		for other := range o.Values {
			o.folded[fold(other)]++
		}
	}
	n := o.folded[fold(name)]
	return n > 1 || n == 1 && !present
}

// fold gives the same text for all that strings.EqualFold takes for equal.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// Range implements value.Mapping.
func (o *jsonObject) Range(yield func(string, value.Value) bool) {
	o.Values.Range(func(name string, _ value.Value) bool {
		v, _ := o.Lookup(name)
		return yield(name, v)
	})
}

// formView shows the fields of a form. To ask for the one value of a name that
// is there more than once refuses the request.
type formView exchange

func (v *formView) Lookup(name string) (value.Value, bool) {
	e, ok := v.fields.Lookup(name)
	if e.Kind() == value.Error {
		v.err = e.Err()
		(*exchange)(v).refuse(BodyMalformed, "body_field_repeated")
	}
	return e, ok
}

func (v *formView) Len() int { return v.fields.Len() }

func (v *formView) Range(yield func(string, value.Value) bool) {
	v.fields.Range(func(name string, _ value.Value) bool {
		e, _ := v.Lookup(name)
		return yield(name, e)
	})
}
