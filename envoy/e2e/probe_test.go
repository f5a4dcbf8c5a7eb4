package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A probe is one request to a lab, and what must be seen of it. What is seen
// are lines of the form "path: value":
//
//	asked: 1                            how often Envoy asked
//	request.http.method: GET            a field of the AttributeContext
//	request.http.headers.x-a: 1         an entry of a map, or of header_map
//	answered: 403                       the status, 0 without an answer
//	answer.x-a: 1                       a header of the answer
//	answer body: no                     its body
//	answer frames: 1                    the frames that it came in, of HTTP/2
//	upstream: GET /x                    what reached the upstream; "nothing"
//	upstream.x-a: 1                     a header there
//	upstream body: x                    the body there
//	log.details: ext_authz_denied       a member of Envoy's access log
//
// For each path that want names it names all lines that there must be, in
// order; "!path" says that there is none.
type probe struct {
	name string
	door string

	line  string      // the request line; "": GET / HTTP/1.1
	lines []string    // further header lines
	raw   string      // instead of these, every byte
	http2 [][2]string // or the header fields over HTTP/2; method, scheme, authority and path are added where absent
	body  string
	over  func() net.Conn // the connection to use; nil: a plain one

	reply  string                // the answer, in protobuf's text format
	answer *authv3.CheckResponse // or as it is; without both: allow
	err    error                 // of the call, instead
	says   []string              // further headers of the upstream's answer

	want []string
}

// run makes the probes, each as a subtest.
func (l *lab) run(t *testing.T, probes []probe) {
	t.Helper()
	for _, p := range probes {
		t.Run(p.name, func(t *testing.T) {
			answer := p.answer
			switch {
			case p.reply != "":
				answer = parse(t, p.reply)
			case answer == nil:
				answer = allow()
			}
			l.will(answer, p.err)
			l.upstream.will(p.says...)
			checkSeen(t, l.seen(t, l.probe(t, p), p.want), p.want)
		})
	}
}

// parse reads an answer in protobuf's text format.
func parse(t *testing.T, text string) *authv3.CheckResponse {
	t.Helper()
	out := new(authv3.CheckResponse)
	if err := prototext.Unmarshal([]byte(text), out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

// probe sends a probe's request.
func (l *lab) probe(t *testing.T, p probe) event {
	t.Helper()
	return l.watch(func() []answer {
		var conn net.Conn
		if p.over != nil {
			conn = p.over()
		} else {
			conn = l.connectTo(t, p.door)
		}
		if p.http2 != nil {
			return []answer{exchange2(t, conn, pseudo(p.http2), p.body)}
		}
		raw := p.raw
		if raw == "" {
			line, lines := p.line, p.lines
			if line == "" {
				line = "GET / HTTP/1.1"
			}
			if p.body != "" && !slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "transfer-encoding:") }) {
				lines = append(slices.Clone(lines), fmt.Sprintf("Content-Length: %d", len(p.body)))
			}
			raw = head(line, lines...) + p.body
		}
		return exchange(t, conn, []byte(raw), 1)
	})
}

// pseudo adds the pseudo-header fields that are absent.
func pseudo(fields [][2]string) [][2]string {
	var out [][2]string
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "lab.example"}, {":path", "/"}} {
		if !slices.ContainsFunc(fields, func(g [2]string) bool { return g[0] == f[0] }) {
			out = append(out, f)
		}
	}
	return append(out, fields...)
}

// seen gives what was seen of an event, as far as want asks for it.
func (l *lab) seen(t *testing.T, e event, want []string) []string {
	t.Helper()
	lines := []string{fmt.Sprintf("asked: %d", len(e.asked))}
	if len(e.asked) > 0 {
		lines = append(lines, flat("", e.asked[0].request.GetAttributes().ProtoReflect())...)
		for name, values := range e.asked[0].metadata {
			for _, v := range values {
				lines = append(lines, "call."+name+": "+v)
			}
		}
	}
	a := e.one()
	lines = append(lines, fmt.Sprintf("answered: %d", a.status), "answer body: "+a.body, fmt.Sprintf("answer frames: %d", a.frames))
	for name, values := range a.header {
		for _, v := range values {
			lines = append(lines, "answer."+strings.ToLower(name)+": "+v)
		}
	}
	if len(e.reached) == 0 {
		lines = append(lines, "upstream: nothing")
	}
	for _, q := range e.reached {
		lines = append(lines, "upstream: "+q.Method+" "+q.Target, "upstream body: "+q.Body)
		for _, h := range q.Headers {
			lines = append(lines, "upstream."+h[0]+": "+h[1])
		}
	}
	if slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(strings.TrimPrefix(w, "!"), "log.") }) {
		line := l.loggedOf(t, a)
		lines = append(lines, "log.details: "+line.Details, "log.flags: "+line.Flags, "log.path: "+line.Path, "log.cluster: "+line.Cluster)
		for _, name := range names(line.Metadata) {
			value, err := json.Marshal(line.Metadata[name])
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, "log.metadata."+name+": "+string(value))
		}
		if len(line.Shadow) > 0 && string(line.Shadow) != "null" {
			lines = append(lines, "log.shadow: "+string(line.Shadow))
		}
	}
	return lines
}

// checkSeen compares what was seen with what must be.
func checkSeen(t *testing.T, seen, want []string) {
	t.Helper()
	wanted := map[string][]string{}
	var paths []string
	for _, w := range want {
		path, value, has := strings.Cut(w, ": ")
		if _, known := wanted[strings.TrimPrefix(path, "!")]; !known {
			paths = append(paths, strings.TrimPrefix(path, "!"))
			wanted[strings.TrimPrefix(path, "!")] = nil
		}
		if strings.HasPrefix(path, "!") {
			continue
		}
		if !has {
			path, value = strings.TrimSuffix(path, ":"), ""
			paths = append(paths, path)
		}
		wanted[path] = append(wanted[path], value)
	}
	for _, path := range slices.Compact(paths) {
		var got []string
		for _, line := range seen {
			if at, value, _ := strings.Cut(line, ": "); at == path {
				got = append(got, value)
			}
		}
		if !slices.Equal(got, wanted[path]) {
			t.Errorf("%s: %q, want %q", path, got, wanted[path])
		}
	}
	if t.Failed() {
		t.Logf("seen:\n\t%s", strings.Join(seen, "\n\t"))
	}
}

// flat gives the fields of a message that are set, as lines.
func flat(path string, m protoreflect.Message) (out []string) {
	switch v := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return []string{path + ": " + v.AsTime().String()}
	case *structpb.Struct:
		b, _ := json.Marshal(v.AsMap()) // as sorted as a test needs it
		return []string{path + ": " + string(b)}
	case *anypb.Any:
		return []string{path + ": " + v.GetTypeUrl() + " " + fmt.Sprintf("%x", v.GetValue())}
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		value := m.Get(fd)
		switch {
		case fd.IsMap():
			var entries []string
			value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if fd.MapValue().Message() != nil {
					entries = append(entries, flat(at+"."+k.String(), v.Message())...)
				} else {
					entries = append(entries, at+"."+k.String()+": "+v.String())
				}
				return true
			})
			slices.Sort(entries)
			out = append(out, entries...)
		case fd.IsList():
			for i := range value.List().Len() {
				// HeaderMap.headers, the one list there is.
				h := value.List().Get(i).Message()
				text := h.Get(h.Descriptor().Fields().ByName("value")).String()
				if text != "" {
					text = " and as text: " + text
				}
				raw := h.Get(h.Descriptor().Fields().ByName("raw_value")).Bytes()
				out = append(out, path+"."+h.Get(h.Descriptor().Fields().ByName("key")).String()+": "+string(raw)+text)
			}
		case fd.Message() != nil:
			if inner := flat(at, value.Message()); len(inner) > 0 {
				out = append(out, inner...)
			} else {
				out = append(out, at+": {}")
			}
		case fd.Kind() == protoreflect.BytesKind:
			out = append(out, at+": "+string(value.Bytes()))
		default:
			out = append(out, at+": "+value.String())
		}
	}
	return out
}
