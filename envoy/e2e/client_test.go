package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The addresses that clients send from: the first is an office's by the demo's
// policies, the second is not.
const (
	office  = "127.0.0.1"
	outside = "127.0.0.2"
)

// A request is one that an ordinary HTTP client sends.
type request struct {
	as     string // whose token it bears; "": none
	method string // "": GET
	path   string
	header http.Header
	body   string
	http2  bool
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	proto  string
	frames int // HEADERS and DATA, of HTTP/2
}

// send sends a request to Envoy.
func (r *rig) send(t *testing.T, q request) answer {
	t.Helper()
	a, err := r.try(q)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return a
}

func (r *rig) try(q request) (answer, error) {
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	out, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", r.port, q.path), body)
	if err != nil {
		return answer{}, err
	}
	for name, values := range q.header {
		out.Header[name] = values
	}
	if q.body != "" && out.Header["Content-Type"] == nil {
		out.Header.Set("Content-Type", "application/json")
	}
	if q.as != "" {
		out.Header.Set("Authorization", "Bearer "+r.issuer.token(q.as))
	}
	transport := &r.http1
	if q.http2 {
		transport = &r.http2
	}
	client := http.Client{Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(out)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(content), proto: resp.Proto}, err
}

// ---- Bytes as they are -----------------------------------------------------

// connect opens a connection to Envoy from an address.
func (r *rig) connect(t *testing.T, from string) net.Conn {
	t.Helper()
	return connect(t, from, r.port)
}

// connect opens a connection to a port from an address.
func connect(t *testing.T, from string, port int) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn, err := dialer.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// sendRaw sends bytes that nothing looks at, and reads answers until there are
// as many as asked for or Envoy closes the connection.
func (r *rig) sendRaw(t *testing.T, from string, raw []byte, want int) (got []answer) {
	t.Helper()
	return exchange(t, r.connect(t, from), raw, want)
}

// exchange does so on a connection, and closes it.
func exchange(t *testing.T, conn net.Conn, raw []byte, want int) (got []answer) {
	t.Helper()
	defer conn.Close()
	if _, err := conn.Write(raw); err != nil {
		t.Logf("writing: %v", err) // Envoy may close before it has read everything
	}
	method, _, _ := bytes.Cut(raw, []byte(" "))
	in := bufio.NewReader(conn)
	for len(got) < want {
		a, err := readAnswer(in, string(method))
		if err != nil {
			if isTimeout(err) {
				t.Fatalf("Envoy neither answered nor closed the connection within %v, after %d answers", patience, len(got))
			}
			break
		}
		got = append(got, a)
	}
	return got
}

// readAnswer reads one answer to a method, past those that only say to go on.
func readAnswer(in *bufio.Reader, method string) (answer, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return answer{}, err
		}
		if resp.StatusCode >= 200 {
			return answer{status: resp.StatusCode, header: resp.Header, body: string(body), proto: resp.Proto}, nil
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// sendRaw2 sends one HTTP/2 request whose header fields nothing looks at. The
// status of the answer is 0 if the stream or the connection was reset.
func (r *rig) sendRaw2(t *testing.T, from string, fields [][2]string, body string) (got answer) {
	t.Helper()
	return exchange2(t, r.connect(t, from), fields, body)
}

// exchange2 does so on a connection, and closes it.
func exchange2(t *testing.T, conn net.Conn, fields [][2]string, body string) (got answer) {
	t.Helper()
	defer conn.Close()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&out, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(framer.WriteSettings())
	must(framer.WriteSettingsAck())
	must(framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == "",
	}))
	if body != "" {
		must(framer.WriteData(1, true, []byte(body)))
	}
	if _, err := conn.Write(out.Bytes()); err != nil {
		t.Logf("writing: %v", err)
	}
	got.proto, got.header = "HTTP/2.0", http.Header{}
	for {
		frame, err := framer.ReadFrame()
		switch f := frame.(type) {
		case nil:
			if isTimeout(err) {
				t.Fatalf("Envoy neither answered nor closed the connection within %v", patience)
			}
			return got
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return got
		case *http2.MetaHeadersFrame:
			got.frames++
			for _, h := range f.Fields {
				if h.Name == ":status" {
					got.status, _ = strconv.Atoi(h.Value)
				}
				got.header.Add(h.Name, h.Value)
			}
			if f.StreamEnded() {
				return got
			}
		case *http2.DataFrame:
			got.frames++
			got.body += string(f.Data())
			if f.StreamEnded() {
				return got
			}
		}
	}
}
