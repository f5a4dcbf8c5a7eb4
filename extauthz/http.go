package extauthz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edict/extauthz/wire"
)

// HTTPOptions says how Envoy asks over HTTP, that is, what its ext_authz filter
// is set to.
type HTTPOptions struct {
	// PathPrefix is http_service.path_prefix, which Envoy puts in front of the
	// path that it asks about. A path without it is refused.
	PathPrefix string

	// RawHeaders says that encode_raw_headers is set. Otherwise Envoy joins
	// repeated headers, and no source of identity that reads headers is
	// believed.
	RawHeaders bool

	// DecisionHeaders answers with the dynamic metadata as headers, each with
	// DecisionPrefix before its key, for dynamic_metadata_from_headers. Where
	// Envoy does not restrict allowed_client_headers, clients see those of a
	// denial.
	DecisionHeaders bool
}

// DecisionPrefix begins the names of the headers of HTTPOptions.DecisionHeaders.
const DecisionPrefix = "x-edict-decision-"

// headersToRemove is the header of an answer that names the request's headers
// that Envoy removes.
const headersToRemove = "x-envoy-auth-headers-to-remove"

// NewHTTPServer gives a server for the HTTP variant of ext_authz. It speaks
// HTTP/1.1 alone: of HTTP/2, net/http refuses some requests by a reset, which
// is an error to Envoy and not a denial.
func (s *Server) NewHTTPServer(o HTTPOptions) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:   &httpVariant{s, o},
		Protocols: protocols,
		// Or OPTIONS * would be answered with 200, which allows.
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               1 << 20,
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 10 * time.Second,
		// Longer than Envoy keeps idle connections, which is an hour: it must
		// be the one that closes, or a request is lost on the way.
		IdleTimeout: 90 * time.Minute,
	}
}

// httpVariant answers the requests of Envoy's ext_authz filter where that has
// an http_service. Each becomes a CheckRequest, so that every rule holds for it
// that holds for gRPC. Only 200 allows.
type httpVariant struct {
	server  *Server
	options HTTPOptions
}

// ServeHTTP implements http.Handler.
func (h *httpVariant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := h.safely(r)
	header := w.Header()
	for _, f := range a.header {
		header.Add(f.Name, f.Value)
	}
	if header["Content-Type"] == nil {
		header["Content-Type"] = nil // net/http guesses none
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body) // Envoy is gone if this fails
}

// An httpAnswer is what Envoy gets.
type httpAnswer struct {
	status int
	header []wire.HeaderValue
	body   string
}

// safely answers, also if that panics.
func (h *httpVariant) safely(r *http.Request) (a httpAnswer) {
	defer func() {
		if p := recover(); p != nil {
			a = plainDenial(http.StatusForbidden)
			if rev := h.server.revision.Load(); rev != nil {
				h.server.tellPanic(rev, p)
			} else if h.server.Panicked != nil {
				h.server.Panicked(p, debug.Stack())
			}
		}
	}()
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(h.check(r), out); err != nil {
		return plainDenial(http.StatusForbidden)
	}
	return h.answer(out)
}

// check gives the encoded CheckResponse for a request.
func (h *httpVariant) check(r *http.Request) []byte {
	s := h.server
	limit := int64(MaxMessage)
	if s.Limits.Message > 0 {
		limit = int64(s.Limits.Message)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return s.refuse(nil, TooLarge, "")
		}
		return s.refuse(nil, BadRequest, "body_cut_off")
	}
	path, ok := strings.CutPrefix(r.RequestURI, h.options.PathPrefix)
	if !ok {
		return s.refuse(nil, BadRequest, "path_prefix")
	}
	request, err := proto.Marshal(h.message(r, path, body))
	if err != nil { // text that is not UTF-8
		return s.refuse(nil, BadRequest, "malformed_check")
	}
	ctx, cancel := withExpectedTimeout(r)
	defer cancel()
	return s.AppendCheck(ctx, nil, request)
}

// expectedTimeout is the header in which Envoy says how many milliseconds it
// waits. It overwrites a client's.
const expectedTimeout = "X-Envoy-Expected-Rq-Timeout-Ms"

func withExpectedTimeout(r *http.Request) (context.Context, context.CancelFunc) {
	ms, err := strconv.ParseUint(r.Header.Get(expectedTimeout), 10, 31)
	if err != nil {
		return context.WithCancel(r.Context())
	}
	return context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
}

// message gives what Envoy would ask over gRPC. It has what a request can say
// and nothing else: no context extensions, no metadata, no peers, which no
// header stands for.
func (h *httpVariant) message(r *http.Request, path string, body []byte) *authv3.CheckRequest {
	in := &authv3.AttributeContext_HttpRequest{Method: r.Method, Path: path, Host: r.Host, RawBody: body}
	fields := map[string][]string{":method": {r.Method}, ":path": {path}, ":authority": {r.Host}}
	for name, values := range r.Header {
		switch name {
		case "Content-Length": // of what Envoy hands on, not of the request
		case expectedTimeout, "X-Envoy-Internal": // of Envoy's own call
		default:
			fields[strings.ToLower(name)] = values
		}
	}
	if h.options.RawHeaders {
		in.HeaderMap = new(corev3.HeaderMap)
		for name, values := range fields {
			for _, v := range values {
				in.HeaderMap.Headers = append(in.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(v)})
			}
		}
	} else {
		in.Headers = make(map[string]string, len(fields))
		for name, values := range fields {
			in.Headers[name] = strings.ToValidUTF8(strings.Join(values, ","), "!")
		}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Time: timestamppb.Now(), Http: in},
	}}
}

// answer puts a CheckResponse into HTTP.
func (h *httpVariant) answer(out *authv3.CheckResponse) httpAnswer {
	allow := out.GetOkResponse()
	if out.GetStatus() == nil || out.GetStatus().GetCode() != 0 || allow == nil {
		return h.denied(out)
	}
	if len(allow.GetQueryParametersToSet()) > 0 || len(allow.GetQueryParametersToRemove()) > 0 {
		// Over HTTP Envoy can't be told to, so that the backend would get
		// another request than the one that was allowed.
		_ = h.server.refuse(nil, Internal, "query_rewrite_over_http") // for whoever observes
		return plainDenial(http.StatusForbidden)
	}
	a := httpAnswer{status: http.StatusOK}
	a.add(allow.GetHeaders())
	a.add(allow.GetResponseHeadersToAdd())
	if names := allow.GetHeadersToRemove(); len(names) > 0 {
		a.header = append(a.header, wire.HeaderValue{Name: headersToRemove, Value: strings.Join(names, ",")})
	}
	h.addDecision(&a, out)
	return a
}

// denied gives a denial. A status that Envoy would take for an allow (200) or
// for a failure (5xx) becomes 403.
func (h *httpVariant) denied(out *authv3.CheckResponse) httpAnswer {
	deny := out.GetDeniedResponse()
	status := int(deny.GetStatus().GetCode())
	a := plainDenial(http.StatusForbidden)
	if status >= 300 && status < 500 {
		a = httpAnswer{status: status, body: deny.GetBody()}
		a.add(deny.GetHeaders())
	}
	h.addDecision(&a, out)
	return a
}

func (a *httpAnswer) add(headers []*corev3.HeaderValueOption) {
	for _, o := range headers {
		a.header = append(a.header, wire.HeaderValue{Name: o.GetHeader().GetKey(), Value: o.GetHeader().GetValue()})
	}
}

// addDecision adds the dynamic metadata as headers, if that is wanted, as far
// as headers can carry it.
func (h *httpVariant) addDecision(a *httpAnswer, out *authv3.CheckResponse) {
	if !h.options.DecisionHeaders {
		return
	}
	fields := out.GetDynamicMetadata().GetFields()
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		name := DecisionPrefix + strings.ToLower(key)
		text, err := headerText(metadataText(fields[key]), false)
		if err == nil && text != "" && wire.ValidHeader(name, text) {
			a.header = append(a.header, wire.HeaderValue{Name: name, Value: text})
		}
	}
}

// metadataText gives a text as it is and any other value as JSON.
func metadataText(v *structpb.Value) string {
	if s, ok := v.GetKind().(*structpb.Value_StringValue); ok {
		return s.StringValue
	}
	b, err := json.Marshal(v.AsInterface())
	if err != nil {
		return "" // no JSON: infinite
	}
	return string(b)
}

// plainDenial is a denial that tells nothing but its status.
func plainDenial(status int) httpAnswer {
	return httpAnswer{
		status: status,
		header: []wire.HeaderValue{{Name: "content-type", Value: "application/problem+json"}},
		body:   fmt.Sprintf(`{"title":%q,"status":%d}`, http.StatusText(status), status) + "\n",
	}
}
