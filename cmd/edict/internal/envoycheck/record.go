package envoycheck

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/extauthz"
	"edict/extauthz/target"
)

// APIVersion is that of a recorded check.
const APIVersion = "edict.dev/v1"

// A Record is a check that was recorded.
type Record struct {
	At       time.Time // when it was answered
	Request  *authv3.CheckRequest
	Redacted []string // what was taken out of it, such as "header authorization"

	// What became of it.
	Outcome  string
	Route    string // empty: none matched
	Revision string
}

// The form of a Record in a file.
type recordFile struct {
	APIVersion string    `json:"apiVersion"`
	Check      checkFile `json:"recordedCheck"`
}

type checkFile struct {
	At       time.Time       `json:"at"`
	Outcome  string          `json:"outcome"`
	Route    string          `json:"route,omitempty"`
	Revision string          `json:"revision,omitempty"`
	Redacted []string        `json:"redacted,omitempty"`
	Request  json.RawMessage `json:"request"` // CheckRequest in the JSON form of protobuf
}

// Write gives the file of a record.
func (r *Record) Write() ([]byte, error) {
	request, err := protojson.Marshal(r.Request)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(recordFile{APIVersion, checkFile{r.At, r.Outcome, r.Route, r.Revision, r.Redacted, request}}, "", "  ")
	return append(b, '\n'), err
}

// Read reads a recorded check, or a bare CheckRequest in the JSON form of
// protobuf; of that only the Request is set.
func Read(content []byte) (*Record, error) {
	var head struct {
		APIVersion *string          `json:"apiVersion"`
		Check      *json.RawMessage `json:"recordedCheck"`
	}
	if err := json.Unmarshal(content, &head); err != nil {
		return nil, fmt.Errorf("this is not a CheckRequest in the JSON form of protobuf, nor a recorded check: %w", err)
	}
	r := new(Record)
	request := json.RawMessage(content)
	if head.APIVersion != nil || head.Check != nil {
		if head.APIVersion == nil || *head.APIVersion != APIVersion || head.Check == nil {
			return nil, fmt.Errorf("a recorded check has apiVersion: %s and recordedCheck", APIVersion)
		}
		var f checkFile
		decoder := json.NewDecoder(strings.NewReader(string(*head.Check)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil {
			return nil, fmt.Errorf("recordedCheck: %w", err)
		}
		if len(f.Request) == 0 {
			return nil, errors.New("recordedCheck has no request")
		}
		request = f.Request
		r.At, r.Outcome, r.Route, r.Revision, r.Redacted = f.At, f.Outcome, f.Route, f.Revision, f.Redacted
	}
	r.Request = new(authv3.CheckRequest)
	if err := protojson.Unmarshal(request, r.Request); err != nil {
		return nil, fmt.Errorf("this is not a CheckRequest in the JSON form of protobuf: %w", err)
	}
	return r, nil
}

// A Redactor takes credentials out of checks. The zero Redactor takes out what
// is known to be one anywhere.
type Redactor struct {
	Headers []string // further headers, in lower case
	Queries []string // further parameters of queries
	Claims  []string // names of claims and other entries of metadata, at any depth
	Bodies  bool     // keep bodies
}

// redacted stands for what was taken out.
const redacted = "[redacted]"

// The headers and query parameters that hold credentials by their name, or by
// a part of it.
var (
	secretHeaders = []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "dpop", "sec-websocket-protocol"}
	secretParts   = []string{"token", "secret", "password", "passwd", "key", "credential", "session", "signature", "assertion", "jwt"}
)

func (d *Redactor) isSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(secretHeaders, name) || slices.Contains(d.Headers, name) ||
		slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(name, part) })
}

// Redact gives a copy of a check without credentials, and names what was taken
// out.
func (d *Redactor) Redact(in *authv3.CheckRequest) (*authv3.CheckRequest, []string) {
	out := proto.Clone(in).(*authv3.CheckRequest)
	var taken []string
	note := func(what string) {
		if !slices.Contains(taken, what) {
			taken = append(taken, what)
		}
	}
	http := out.GetAttributes().GetRequest().GetHttp()
	if http != nil {
		path := d.query(http.Path, note)
		http.Path = path
		for _, h := range http.GetHeaderMap().GetHeaders() {
			switch name := strings.ToLower(h.GetKey()); {
			case name == ":path":
				if len(h.GetRawValue()) > 0 {
					h.RawValue = []byte(path)
				} else {
					h.Value = path
				}
			case d.isSecret(name):
				h.RawValue, h.Value = []byte(masked(cmp.Or(string(h.GetRawValue()), h.GetValue()))), ""
				note("header " + name)
			default: // referer, x-original-url and their kin
				if text := cmp.Or(string(h.GetRawValue()), h.GetValue()); strings.Contains(text, "?") {
					h.RawValue, h.Value = []byte(d.query(text, note)), ""
				}
			}
		}
		for name, v := range http.GetHeaders() {
			switch {
			case name == ":path":
				http.Headers[name] = path
			case d.isSecret(name):
				http.Headers[name] = masked(v)
				note("header " + name)
			default:
				http.Headers[name] = d.query(v, note)
			}
		}
		if !d.Bodies && len(http.GetRawBody())+len(http.GetBody()) > 0 {
			http.RawBody, http.Body = nil, ""
			note("body")
		}
	}
	d.metadata(out, note)
	return out, taken
}

// metadata takes the named claims out of all metadata.
func (d *Redactor) metadata(m *authv3.CheckRequest, note func(string)) {
	if len(d.Claims) == 0 {
		return
	}
	var walk func(s *structpb.Struct)
	var visit func(v *structpb.Value)
	visit = func(v *structpb.Value) {
		if s := v.GetStructValue(); s != nil {
			walk(s)
		}
		for _, e := range v.GetListValue().GetValues() {
			visit(e)
		}
	}
	walk = func(s *structpb.Struct) {
		for name, v := range s.GetFields() {
			if slices.Contains(d.Claims, name) {
				s.Fields[name] = structpb.NewStringValue(redacted)
				note("claim " + name)
				continue
			}
			visit(v)
		}
	}
	for _, c := range []*corev3.Metadata{m.GetAttributes().GetMetadataContext(), m.GetAttributes().GetRouteMetadataContext()} {
		for _, s := range c.GetFilterMetadata() {
			walk(s)
		}
	}
}

// masked keeps the scheme of a credential, which a decision may hang on.
func masked(s string) string {
	scheme, _, ok := strings.Cut(s, " ")
	if ok && (strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "basic") || strings.EqualFold(scheme, "dpop")) {
		return scheme + " " + redacted
	}
	return redacted
}

// query takes credentials out of the query of a target.
func (d *Redactor) query(uri string, note func(string)) string {
	path, query, ok := strings.Cut(uri, "?")
	if !ok {
		return uri
	}
	var b strings.Builder
	b.WriteString(path + "?")
	for query != "" {
		pair, separator := query, ""
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			pair, separator = query[:i], query[i:i+1]
		}
		query = query[len(pair)+len(separator):]
		if name, _, ok := strings.Cut(pair, "="); ok {
			// A token counts in whatever spelling its name has.
			if plain := decoded(name); d.isSecret(plain) || slices.Contains(d.Queries, plain) {
				pair = name + "=redacted"
				note("query " + plain)
			}
		}
		b.WriteString(pair + separator)
	}
	return b.String()
}

// decoded gives a name without percent-encoding, as far as it can be decoded.
func decoded(name string) string {
	if plain, ok := target.UnescapeForm(name); ok {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return name
}

// Know has it take out what sources of identity read tokens and API keys from.
func (d *Redactor) Know(sources []extauthz.Source) {
	for i := range sources {
		var places []extauthz.TokenPlace
		if j := sources[i].JWT; j != nil {
			places = j.From
		}
		if k := sources[i].APIKeys; k != nil {
			places = k.From
		}
		for _, p := range places {
			if p.Header != "" {
				d.Headers = append(d.Headers, p.Header)
			}
			if p.Query != "" {
				d.Queries = append(d.Queries, p.Query)
			}
		}
	}
}
