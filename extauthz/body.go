package extauthz

import (
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"

	"edict/engine/value"
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

// body gives request.body: the JSON body, read once and only when asked for.
// A body that is missing, cut, encoded or not strict JSON ends the request,
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
	if contentType != "application/json" && !isJSON(contentType) {
		return none, BodyUnsupported, errors.New("the content-type is not application/json")
	}
	v, err := strictjson.Parse(body, bodyLimits)
	if err != nil {
		return none, BodyMalformed, fmt.Errorf("the body is not JSON: %w", err)
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
	if text, ok := x.in.ContextExtension(limitExtension); ok {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return false
		}
	}
	return n < limit
}

// isJSON tells whether a content-type is JSON in UTF-8, parameters and all.
func isJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json" && utf8Charset(params)
}

func utf8Charset(params map[string]string) bool {
	for name, v := range params {
		if name != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	return true
}
