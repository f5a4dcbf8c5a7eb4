package routemap

import (
	"fmt"
	"regexp"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// BadBody is for a member of body that has a value that there is not.
const BadBody diag.Code = "route-bad-body"

var mediaType = regexp.MustCompile(`^[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+$`)

// parseBody reads how a route reads bodies; nil if it does not say.
func parseBody(o yamldoc.Object) *Body {
	n, ok := o.Field("body")
	if !ok {
		return nil
	}
	b := &Body{Pos: n.Pos()}
	if o, ok = n.Object("format", "contentTypes", "limit", "unknownFields"); !ok {
		return b
	}
	b.Format = oneOf(o, "format", "json", "form", "grpc")
	b.UnknownFields = oneOf(o, "unknownFields", RefuseUnknown, IgnoreUnknown)
	b.ContentTypes = texts(o, "contentTypes")
	for _, t := range b.ContentTypes {
		if !mediaType.MatchString(t.Value) {
			n.Document().Report(t.Pos, BadBody, fmt.Sprintf("%q is not a media type", t.Value), "write type and subtype in lower case, without parameters, as in application/merge-patch+json")
		}
	}
	if limit, ok := o.Field("limit"); ok {
		i, ok := limit.Int()
		if ok && i < 1 {
			limit.Report(BadBody, "the limit is a number of bytes, at least 1", "write Envoy's max_request_bytes, or leave it out")
		}
		b.Limit = i
	}
	return b
}

// oneOf reads a text that may have a few values.
func oneOf(o yamldoc.Object, field string, values ...string) diag.Text {
	n, ok := o.Field(field)
	if !ok {
		return diag.Text{}
	}
	t, ok := n.NonEmptyText()
	if !ok {
		return diag.Text{}
	}
	for _, v := range values {
		if t.Value == v {
			return t
		}
	}
	hint := diag.DidYouMean(t.Value, values)
	if hint == "" {
		hint = fmt.Sprintf("write one of %v", values)
	}
	n.Report(BadBody, fmt.Sprintf("%s can't be %q", field, t.Value), hint)
	return diag.Text{}
}
