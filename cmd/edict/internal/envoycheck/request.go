package envoycheck

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edict/extauthz/wire"
)

// A Request is an HTTP request as a command line or a test tells it.
type Request struct {
	Method  string   // empty: POST with a body, otherwise GET
	Target  string   // path and query, or a whole URL
	Host    string   // empty: that of the URL, or example.com
	Headers []string // "Name: value", in order
	Body    []byte

	// Metadata is dynamic metadata by namespace, such as what jwt_authn makes
	// of a verified token; RouteMetadata is that of Envoy's route.
	Metadata, RouteMetadata map[string]map[string]any

	Extensions map[string]string // context extensions

	Source            string // address of the client, with or without a port; empty: 127.0.0.1
	SourcePrincipal   string // of the client's certificate
	SourceCertificate string // in PEM
	Destination       string // address of Envoy's end; empty: 127.0.0.1:443
	DestinationName   string // principal of Envoy's own certificate
	SNI               string

	Time time.Time // when Envoy received it
}

// Message gives the CheckRequest that Envoy sends for the request. The error
// says which part can't be.
func (r *Request) Message() (*authv3.CheckRequest, error) {
	http, err := r.http()
	if err != nil {
		return nil, err
	}
	at := &authv3.AttributeContext{
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: r.Extensions,
	}
	if !r.Time.IsZero() {
		at.Request.Time = timestamppb.New(r.Time)
	}
	if at.Source, err = peer(cmp.Or(r.Source, "127.0.0.1"), 40_000); err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	at.Source.Principal, at.Source.Certificate = r.SourcePrincipal, url.PathEscape(r.SourceCertificate)
	if at.Destination, err = peer(cmp.Or(r.Destination, "127.0.0.1"), 443); err != nil {
		return nil, fmt.Errorf("the destination: %w", err)
	}
	at.Destination.Principal = r.DestinationName
	if r.SNI != "" {
		at.TlsSession = &authv3.AttributeContext_TLSSession{Sni: r.SNI}
	}
	if at.MetadataContext, err = metadata(r.Metadata); err != nil {
		return nil, fmt.Errorf("the metadata: %w", err)
	}
	if at.RouteMetadataContext, err = metadata(r.RouteMetadata); err != nil {
		return nil, fmt.Errorf("the metadata of the route: %w", err)
	}
	return &authv3.CheckRequest{Attributes: at}, nil
}

func (r *Request) http() (*authv3.AttributeContext_HttpRequest, error) {
	target, host, scheme, err := r.target()
	if err != nil {
		return nil, err
	}
	out := &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: r.Method, Path: target, Host: host, Scheme: scheme, Protocol: "HTTP/1.1",
		RawBody: r.Body, HeaderMap: new(corev3.HeaderMap),
	}
	if out.Method == "" {
		out.Method = "GET"
		if len(r.Body) > 0 {
			out.Method = "POST"
		}
	}
	given := map[string]bool{}
	var own []*corev3.HeaderValue
	for _, line := range r.Headers {
		name, text, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || !wire.ValidHeader(name, "") {
			return nil, fmt.Errorf("%q is not a header; write Name: value", line)
		}
		if name == "host" {
			out.Host = strings.TrimSpace(text)
			continue
		}
		given[name] = true
		own = append(own, &corev3.HeaderValue{Key: name, RawValue: []byte(strings.Trim(text, " \t"))})
	}
	add := func(name, text string) {
		out.HeaderMap.Headers = append(out.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(text)})
	}
	add(":authority", out.Host)
	add(":path", out.Path)
	add(":method", out.Method)
	add(":scheme", out.Scheme)
	out.HeaderMap.Headers = append(out.HeaderMap.Headers, own...)
	if len(r.Body) > 0 {
		if !given["content-type"] && json.Valid(r.Body) {
			add("content-type", "application/json")
		}
		if !given["content-length"] {
			add("content-length", strconv.Itoa(len(r.Body)))
		}
		if !given["x-envoy-auth-partial-body"] {
			add("x-envoy-auth-partial-body", "false")
		}
	}
	return out, nil
}

// target splits what was given into what Envoy tells of it. Nothing is decoded
// or cleaned, since how a path is spelled may be what is looked into.
func (r *Request) target() (target, host, scheme string, err error) {
	target, host, scheme = r.Target, r.Host, "https"
	if s, rest, ok := strings.Cut(target, "://"); ok && (s == "http" || s == "https") {
		scheme = s
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		host, target = cmp.Or(host, rest[:end]), rest[end:]
		if target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	if target == "" {
		return "", "", "", errors.New("no path was given")
	}
	return target, cmp.Or(host, "example.com"), scheme, nil
}

func peer(address string, port uint16) (*authv3.AttributeContext_Peer, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}}, nil
	}
	host := address
	if ip, err := netip.ParseAddr(address); err != nil {
		h, p, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address, nor one with a port", address)
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is not a port", p)
		}
		host, port = h, uint16(n)
	} else {
		host = ip.String()
	}
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}}, nil
}

func metadata(namespaces map[string]map[string]any) (*corev3.Metadata, error) {
	if len(namespaces) == 0 {
		return nil, nil
	}
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	for name, fields := range namespaces {
		s, err := structpb.NewStruct(fields)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.FilterMetadata[name] = s
	}
	return out, nil
}

// AddMetadata adds an entry to the dynamic metadata.
func (r *Request) AddMetadata(namespace, key string, v any) {
	if r.Metadata == nil {
		r.Metadata = map[string]map[string]any{}
	}
	if r.Metadata[namespace] == nil {
		r.Metadata[namespace] = map[string]any{}
	}
	r.Metadata[namespace][key] = v
}
