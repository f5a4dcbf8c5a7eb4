package extauthz

import (
	"fmt"

	"edict/engine/diag"
	"edict/extauthz/routemap"
)

// CodeRouteBody is for a route that reads bodies that it can't have, or in a way
// that can't work.
const CodeRouteBody diag.Code = "route-body"

// bodyRules compiles how a route reads bodies.
func (c *compilation) bodyRules(f *routemap.File, r *routemap.Route) bodyRules {
	var out bodyRules
	if r.Match.GRPC != nil {
		out.format = bodyGRPC
	}
	b := r.Body
	if b == nil {
		return out
	}
	switch {
	case r.Match.GRPC != nil && b.Format.Value != "" && b.Format.Value != bodyGRPC:
		c.report(f, b.Format.Pos, CodeRouteBody, fmt.Sprintf("a gRPC method has no body in the format %s", b.Format.Value), "remove format")
	case b.Format.Value != "":
		out.format = b.Format.Value
	}
	for _, t := range b.ContentTypes {
		out.contentTypes = append(out.contentTypes, t.Value)
	}
	if len(b.ContentTypes) > 0 && out.format != bodyJSON {
		c.report(f, b.ContentTypes[0].Pos, CodeRouteBody, "content-types can be added to those of JSON alone", "write format: json, or remove contentTypes")
	}
	if b.UnknownFields.Value != "" && out.format != bodyGRPC {
		c.report(f, b.UnknownFields.Pos, CodeRouteBody, "unknownFields is about gRPC messages, and the route reads others", "write format: grpc, or remove unknownFields")
	}
	out.limit, out.ignoreUnknown = b.Limit, b.UnknownFields.Value == routemap.IgnoreUnknown
	return out
}

// noBody says why request.body can't be read on a route, and how to mend it; ""
// if it can, for all that is known before there is a request.
func (c *compilation) noBody(r *routemap.Route) (message, hint string) {
	g := r.Match.GRPC
	if g == nil {
		return "", ""
	}
	service, method := g.Service.Value, g.Method.Value
	known := c.options.Descriptors
	switch {
	case known == nil:
		return "the messages of gRPC calls can't be read without descriptors", "name a descriptor set in the configuration: body.protoDescriptors"
	case !known.HasService(service):
		return fmt.Sprintf("no descriptor set has the service %s", service), "add the set that has it to body.protoDescriptors"
	case method == "*":
		return "", ""
	case known.Method("/"+service+"/"+method) == nil:
		return fmt.Sprintf("the service %s has no method %s in the descriptor sets", service, method), "correct the method, or make the descriptor set anew"
	case known.Method("/" + service + "/" + method).Streamed():
		return fmt.Sprintf("the client of %s sends a stream of messages, which are not read", method), "decide by what the call begins with: its path and headers"
	}
	return "", ""
}
