package envoycheck

import (
	"cmp"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// An Answer is what Envoy does with a CheckResponse.
type Answer struct {
	Allowed bool  `json:"allowed"`
	Code    int32 `json:"code"`             // of google.rpc.Status
	Status  int   `json:"status,omitempty"` // HTTP, of a denial

	// Of an allow: what the upstream's request becomes.
	UpstreamHeaders []Header `json:"upstreamHeaders,omitempty"`
	RemovedHeaders  []string `json:"removedHeaders,omitempty"`
	QuerySet        []Header `json:"querySet,omitempty"`
	QueryRemoved    []string `json:"queryRemoved,omitempty"`

	// What the client gets: of an allow beside the upstream's answer, of a
	// denial as the answer.
	ResponseHeaders []Header `json:"responseHeaders,omitempty"`
	Body            string   `json:"body,omitempty"`

	Metadata map[string]any `json:"metadata,omitempty"` // dynamic metadata
}

// A Header is a header, or a query parameter, that is set.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ReadAnswer reads an encoded CheckResponse, as Envoy 1.40 does.
func ReadAnswer(b []byte) (*Answer, error) {
	m := new(authv3.CheckResponse)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("this is no CheckResponse: %w", err)
	}
	a := &Answer{Code: m.GetStatus().GetCode(), Allowed: m.GetStatus().GetCode() == 0}
	if m.GetDynamicMetadata() != nil {
		a.Metadata = m.GetDynamicMetadata().AsMap()
	}
	if a.Allowed {
		ok := m.GetOkResponse()
		a.UpstreamHeaders = headers(ok.GetHeaders())
		a.RemovedHeaders = ok.GetHeadersToRemove()
		a.ResponseHeaders = headers(ok.GetResponseHeadersToAdd())
		for _, q := range ok.GetQueryParametersToSet() {
			a.QuerySet = append(a.QuerySet, Header{q.GetKey(), q.GetValue()})
		}
		a.QueryRemoved = ok.GetQueryParametersToRemove()
		return a, nil
	}
	denied := m.GetDeniedResponse()
	if a.Status = int(denied.GetStatus().GetCode()); a.Status == 0 {
		a.Status = 403
	}
	a.ResponseHeaders = headers(denied.GetHeaders())
	a.Body = denied.GetBody()
	return a, nil
}

func headers(list []*corev3.HeaderValueOption) []Header {
	var out []Header
	for _, h := range list {
		out = append(out, Header{h.GetHeader().GetKey(), cmp.Or(string(h.GetHeader().GetRawValue()), h.GetHeader().GetValue())})
	}
	return out
}

// Upstream gives the value that a header toward the upstream is set to.
func (a *Answer) Upstream(name string) (string, bool) { return find(a.UpstreamHeaders, name) }

// Response gives the value of a header of the answer to the client.
func (a *Answer) Response(name string) (string, bool) { return find(a.ResponseHeaders, name) }

func find(list []Header, name string) (string, bool) {
	for _, h := range list {
		if h.Name == name {
			return h.Value, true
		}
	}
	return "", false
}
