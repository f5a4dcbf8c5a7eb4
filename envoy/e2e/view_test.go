package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// viewRoutes say in a header of the answer what Edict read of the request.
const viewRoutes = `apiVersion: edict.dev/v1
routeMap:
  name: view
  hosts: ["*"]
  defaults: {resource: {kind: view}}
  routes:
    - name: cookie
      match: {methods: [GET], path: /view/cookie}
      resource: {id: x}
      action: see
      onAllow: {responseHeaders: {x-seen: {value: {expr: 'request.cookies.session + " " + string(request.headerLists.cookie.size())'}, encode: percent}}}
    - name: lists
      match: {methods: [GET], path: /view/lists}
      resource: {id: x}
      action: see
      onAllow: {responseHeaders: {x-seen: {value: {expr: 'request.headerLists["x-tag"].join("|")'}, encode: percent}}}
    - name: form
      match: {methods: [POST], path: /view/form}
      resource: {id: x}
      action: see
      body: {format: form}
      onAllow: {responseHeaders: {x-seen: {value: {expr: 'request.body.a + " " + request.bodyLists.b.join("|")'}, encode: percent}}}
    - name: json
      match: {methods: [POST], path: /view/json}
      resource: {id: x}
      action: see
      body: {format: json}
      onAllow: {responseHeaders: {x-seen: {value: {expr: request.body.role}, encode: percent}}}
    - name: upload
      match: {methods: [POST], path: /view/upload}
      resource: {id: x}
      action: see
      onAllow: {responseHeaders: {x-seen: {value: {expr: 'request.body.title + " " + request.body.doc.filename + " " + string(request.body.doc.size)'}, encode: percent}}}
    - name: order
      match: {grpc: {service: shop.v1.Orders, method: "*"}}
      resource: {id: {expr: request.body.id}, attributes: {number: {expr: request.body.number}}}
      action: order
      onAllow: {responseHeaders: {x-seen: {value: {expr: 'request.body.id + " " + string(request.body.number) + " " + request.body.state'}, encode: percent}}}
    - {name: strict, match: {methods: [GET], path: "/view/strict/{x}"}, resource: {id: {expr: path.x}}, action: see,
       onAllow: {responseHeaders: {x-seen: {value: {expr: path.x}, encode: percent}}}}
`

// viewSpellings are routes that accept a spelling each.
func viewSpellings() string {
	var b strings.Builder
	for _, option := range []string{"encoded-slash", "encoded-slash-decoded", "empty-segments", "merged-slashes", "path-parameters",
		"path-parameters-dropped", "encoded-delimiters", "double-encoding", "unnormalized-text"} {
		fmt.Fprintf(&b, `    - {name: %[1]s, match: {methods: [GET], path: "/view/%[1]s/{x=**}"}, accept: [%[1]s], resource: {id: "x"}, action: see,
       onAllow: {responseHeaders: {x-seen: {value: {expr: path.x}, encode: percent}}}}
`, option)
	}
	return b.String()
}

const viewPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: view
  version: default
  rules:
    - {name: see, actions: [see], effect: EFFECT_ALLOW, roles: ["*"]}
    - {name: order, actions: [order], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.number == 9007199254740993}}}
`

// newViewRig gives a rig with these routes, whose Envoy sends the body of every
// request that is not read by the demo's own routes.
func newViewRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, concat(patient, soft, []edit{
		{"                      routes:\n", `                      routes:
                        - match: {safe_regex: {regex: "/(view|shop).*"}}
                          route: {cluster: expenses}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {body_limit: "8192"}}
`},
	})...)
	u := newUpstream(t)
	r.edit(t, "envoy/envoy.yaml", edit{fmt.Sprintf("port_value: %d}", r.service), fmt.Sprintf("port_value: %d}", u.port)})
	r.write(t, "envoy/routes/view.yaml", viewRoutes+viewSpellings())
	r.write(t, "policies/view.yaml", viewPolicy)
	descriptors, err := os.ReadFile(filepath.Join(tools.root, "extauthz/grpcbody/testdata/shop.binpb"))
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "envoy/shop.binpb", string(descriptors))
	r.startEdict(t, "--set", `body.protoDescriptors=["envoy/shop.binpb"]`)
	r.startEnvoy(t)
	r.waitServing(t)
	return r
}

// seen gives what Edict read, or the status and reason of a denial.
func (r *rig) seen(t *testing.T, a answer) string {
	t.Helper()
	if seen := a.header.Get("x-seen"); seen != "" {
		text, err := url.PathUnescape(seen)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, r.logged(t, a.header.Get("x-request-id")).Edict.Reason))
}

// order makes an Order of its ProtoJSON.
func order(t *testing.T, json string) proto.Message {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal([]byte(readFile(t, filepath.Join(tools.root, "extauthz/grpcbody/testdata/shop.binpb"))), &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("shop.v1.Order")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestViewOfRequests shows that Edict reads what Envoy sends of cookies,
// repeated headers, bodies and odd paths.
func TestViewOfRequests(t *testing.T) {
	r := newViewRig(t)
	token := "Authorization: Bearer " + r.issuer.token("alice")
	http1 := func(line, body string, headers ...string) func(t *testing.T) answer {
		return func(t *testing.T) answer {
			lines := append([]string{line + " HTTP/1.1", "Host: x.test", "Connection: close", token}, headers...)
			if body != "" {
				lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
			}
			answers := r.sendRaw(t, office, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"+body), 1)
			if len(answers) == 0 {
				return answer{}
			}
			return answers[0]
		}
	}
	http2 := func(method, path, body string, fields ...[2]string) func(t *testing.T) answer {
		return func(t *testing.T) answer {
			all := append([][2]string{{":method", method}, {":scheme", "http"}, {":authority", "x.test"}, {":path", path}},
				append(fields, [2]string{"authorization", strings.TrimPrefix(token, "Authorization: ")})...)
			return r.sendRaw2(t, office, all, body)
		}
	}
	message, err := proto.Marshal(order(t, `{"id": "o1", "number": "9007199254740993", "state": "STATE_PAID"}`))
	if err != nil {
		t.Fatal(err)
	}
	frame := string([]byte{0, 0, 0, 0, byte(len(message))}) + string(message)
	grpcType := [2]string{"content-type", "application/grpc"}
	trailers := [2]string{"te", "trailers"}
	const form = "Content-Type: application/x-www-form-urlencoded"
	parts := "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nReport\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"a.pdf\"\r\nContent-Type: application/pdf\r\n\r\n\x00\xff%\r\n--b--\r\n"
	chunked := "5\r\na=x&b\r\n2\r\n=1\r\n0\r\n\r\n"
	for _, tt := range []struct {
		name string
		send func(t *testing.T) answer
		want string
	}{
		{"a cookie", http1("GET /view/cookie", "", "Cookie: theme=dark; session=abc"), "abc 1"},
		// Envoy joins what HTTP/2 split, and leaves what HTTP/1 should not have.
		{"two Cookie headers", http1("GET /view/cookie", "", "Cookie: theme=dark", "Cookie: session=abc"), "abc 2"},
		{"a Cookie header that HTTP/2 split", http2("GET", "/view/cookie", "", [2]string{"cookie", "theme=dark"}, [2]string{"cookie", "session=abc"}), "abc 1"},
		{"a cookie twice, split", http2("GET", "/view/cookie", "", [2]string{"cookie", "session=a"}, [2]string{"cookie", "session=b"}), "400 bad_request"},
		{"a cookie twice", http1("GET /view/cookie", "", "Cookie: session=a; session=b"), "400 bad_request"},
		{"a quoted cookie", http1("GET /view/cookie", "", `Cookie: session="a"`), "400 bad_request"},
		{"headers that are there more than once", http1("GET /view/lists", "", "X-Tag: a", "X-Tag: b, c", "X-Tag: d"), "a|b, c|d"},

		{"a form", http1("POST /view/form", "a=x+%C3%A9&b=1&b=2", form), "x é 1|2"},
		{"a form over HTTP/2", http2("POST", "/view/form", "a=x&b=1", [2]string{"content-type", "application/x-www-form-urlencoded"}), "x 1"},
		{"a field twice", http1("POST /view/form", "a=x&a=y&b=1", form), "400 body_malformed"},
		{"a form with a semicolon", http1("POST /view/form", "a=x;b=1", form), "400 body_malformed"},
		{"JSON where a form is read", http1("POST /view/form", `{"a":"x"}`, "Content-Type: application/json"), "415 body_unsupported"},
		{"a form that is compressed", http1("POST /view/form", "a=x&b=1", form, "Content-Encoding: gzip"), "415 body_unsupported"},
		{"a form of parts", http1("POST /view/upload", parts, "Content-Type: multipart/form-data; boundary=b"), "Report a.pdf 3"},
		{"a form of parts with a preamble", http1("POST /view/upload", "x\r\n"+parts, "Content-Type: multipart/form-data; boundary=b"), "400 body_malformed"},
		{"JSON", http1("POST /view/json", `{"role":"user"}`, "Content-Type: application/json"), "user"},
		{"JSON with a name in two cases", http1("POST /view/json", `{"role":"user","Role":"admin"}`, "Content-Type: application/json"), "400 body_malformed"},
		{"a form beyond what Envoy holds", http1("POST /view/form", "a=x&b="+strings.Repeat("1", 9000), form), "413"},
		{"a form of just what Envoy holds, in chunks of HTTP/2", http2("POST", "/view/form", "a=x&b="+strings.Repeat("1", 8192-6), [2]string{"content-type", "application/x-www-form-urlencoded"}), "413 body_incomplete"},

		{"gRPC", http2("POST", "/shop.v1.Orders/Place", frame, grpcType, trailers), "o1 9007199254740993 STATE_PAID"},

		{"no odd spelling", http1("GET /view/encoded-slash/a/b", ""), "a/b"},
		{"encoded-slash", http1("GET /view/encoded-slash/a%2Fb/c", ""), "a%2Fb/c"},
		{"encoded-slash-decoded", http1("GET /view/encoded-slash-decoded/a%2Fb/c", ""), "a/b/c"},
		{"empty-segments", http1("GET /view/empty-segments/a//b", ""), "a//b"},
		{"merged-slashes", http1("GET /view//merged-slashes/a//b", ""), "a/b"},
		{"path-parameters", http1("GET /view/path-parameters/a;b=1", ""), "a;b=1"},
		{"path-parameters-dropped", http1("GET /view/path-parameters-dropped/a;b=1/c", ""), "a/c"},
		{"encoded-delimiters", http1("GET /view/encoded-delimiters/C%23", ""), "C#"},
		{"double-encoding", http1("GET /view/double-encoding/a%252Fb", ""), "a%2Fb"},
		{"unnormalized-text", http1("GET /view/unnormalized-text/e%CC%81", ""), "e\u0301"},
		{"encoded-slash where it is not accepted", http1("GET /view/strict/a%2Fb", ""), "400 bad_request"},
		{"a parameter where slashes are accepted", http1("GET /view/encoded-slash/a;b", ""), "400 bad_request"},
		{"a slash that hides dots", http1("GET /view/encoded-slash/a%2F..%2Fb", ""), "400 bad_request"},
		{"a slash that leads to another route", http1("GET /view/encoded-slash-decoded%2F..%2Fstrict/x", ""), "400 bad_request"},
		{"a parameter that hides dots", http1("GET /view/path-parameters-dropped/..;/strict/x", ""), "400 bad_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := r.seen(t, tt.send(t)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a form in chunks", func(t *testing.T) {
		answers := r.sendRaw(t, office, []byte("POST /view/form HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n"+token+"\r\n"+form+"\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked), 1)
		if len(answers) != 1 || r.seen(t, answers[0]) != "x 1" {
			t.Errorf("got %v", answers)
		}
	})

	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(r.port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, tt := range []struct {
		name, method, message string
		options               []grpc.CallOption
		want                  codes.Code
		reason                string
	}{
		// The upstream speaks no gRPC: an allowed call ends there.
		{"a number that is allowed", "Place", `{"id": "o1", "number": "9007199254740993"}`, nil, codes.Unknown, "allow"},
		{"the next number, which is the same to a double", "Place", `{"id": "o1", "number": "9007199254740992"}`, nil, codes.PermissionDenied, "deny"},
		{"a compressed message", "Place", `{"id": "o1", "number": "9007199254740993"}`, []grpc.CallOption{grpc.UseCompressor("gzip")}, codes.InvalidArgument, "body_unsupported"},
		{"a method that streams", "Upload", `{"id": "o1", "number": "9007199254740993"}`, nil, codes.InvalidArgument, "body_unsupported"},
		{"a method that nobody described", "Cancel", `{"id": "o1"}`, nil, codes.InvalidArgument, "body_unsupported"},
		{"an empty message", "Place", `{}`, nil, codes.PermissionDenied, "unmappable"},
	} {
		t.Run("gRPC client, "+tt.name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(soon(t), "authorization", "Bearer "+r.issuer.token("alice"))
			path := "/shop.v1.Orders/" + tt.method
			before := len(r.accessLog(t))
			err := conn.Invoke(ctx, path, order(t, tt.message), order(t, `{}`), tt.options...)
			if got := status.Code(err); got != tt.want {
				t.Errorf("the client gets %v, want %v", err, tt.want)
			}
			eventually(t, "the line in Envoy's access log", func() error {
				lines := r.accessLog(t)[before:]
				for _, l := range lines {
					if l.Path == path {
						if l.Edict.Reason != tt.reason {
							t.Errorf("the reason is %s, want %s", l.Edict.Reason, tt.reason)
						}
						return nil
					}
				}
				return fmt.Errorf("not among %d lines", len(lines))
			})
		})
	}
}
