package authzen

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"edict/api/authzenpb"
	"edict/api/internal/transport"
)

// Metadata tells where the HTTP side is. An error is one of gRPC.
func (s *Server) Metadata(ctx context.Context, _ *authzenpb.MetadataRequest) (*authzenpb.MetadataResponse, error) {
	var o origin
	headers, _ := metadata.FromIncomingContext(ctx)
	o.read(headers.Get(":authority"), headers.Get("x-forwarded-host"), headers.Get("x-forwarded-proto"))
	if p, ok := peer.FromContext(ctx); ok {
		_, o.encrypted = p.AuthInfo.(credentials.TLSInfo)
	}
	return s.describe(o)
}

// metadata does what Metadata does over HTTP.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	o := origin{encrypted: r.TLS != nil}
	o.read([]string{r.Host}, r.Header.Values("x-forwarded-host"), r.Header.Values("x-forwarded-proto"))
	// The answer is for who sent these headers, and for nobody else.
	w.Header().Set("Cache-Control", "no-store")
	out, err := s.describe(o)
	transport.Respond(w, r, out, err)
}

// An origin is where a request says that it was sent to.
type origin struct {
	host      string // with port; empty: it does not say
	scheme    string // http, https; empty: it does not say
	encrypted bool   // by TLS, as it came here
}

// read reads what headers say. What proxies add precedes what they sent. It is
// believed, since it decides about nothing but the answer to its own sender.
func (o *origin) read(hosts, forwardedHosts, forwardedSchemes []string) {
	for _, values := range [][]string{forwardedHosts, hosts} {
		if host := first(values); o.host == "" && isHost(host) {
			o.host = host
		}
	}
	if scheme := strings.ToLower(first(forwardedSchemes)); scheme == "http" || scheme == "https" {
		o.scheme = scheme
	}
}

// first gives the first item of a list that headers hold, which is what the
// outermost proxy said.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	item, _, _ := strings.Cut(values[0], ",")
	return strings.TrimSpace(item)
}

// isHost tells whether a text is a host, with or without a port, and nothing else.
func isHost(text string) bool {
	u, err := url.Parse("http://" + text + "/")
	return err == nil && u.Host == text && u.Hostname() != "" && u.Path == "/" && u.User == nil &&
		!strings.ContainsAny(text, "%\"'<>\\`{|}^")
}

// describe tells where the calls are.
func (s *Server) describe(o origin) (*authzenpb.MetadataResponse, error) {
	base := s.URL
	if base == "" {
		if o.host == "" {
			return nil, status.Error(codes.InvalidArgument, "the request does not say which host it is for")
		}
		scheme := o.scheme
		switch {
		case scheme != "":
		case o.encrypted:
			scheme = "https"
		default:
			scheme = "http"
		}
		base = scheme + "://" + o.host
	}
	return &authzenpb.MetadataResponse{
		PolicyDecisionPoint:       base,
		AccessEvaluationEndpoint:  base + EvaluationPath,
		AccessEvaluationsEndpoint: base + EvaluationsPath,
	}, nil
}
