package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"edict/api/internal/refusal"
)

// Refused answers with an error whatever is asked.
func Refused(code codes.Code, httpStatus int, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Fail(w, r, status.New(code, message), httpStatus)
	})
}

// Only lets one method through.
func Only(method string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			Fail(w, r, status.New(codes.Unimplemented, "Method Not Allowed"), http.StatusNotImplemented)
			return
		}
		h(w, r)
	})
}

// A message is a pointer to a generated type.
type message[T any] interface {
	*T
	proto.Message
}

// Handle gives the handler of a call.
func Handle[In, Out any, PIn message[In], POut message[Out]](b Bounds, answer func(context.Context, PIn) (POut, error)) http.Handler {
	return Only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel, err := timeout(r)
		if err != nil {
			Respond(w, r, nil, err)
			return
		}
		defer cancel()
		body, err := read(r, &b)
		if err != nil {
			Respond(w, r, nil, err)
			return
		}
		answered(r, &b, func() (proto.Message, error) {
			in := PIn(new(In))
			if err := decode(body, in); err != nil {
				return nil, err
			}
			return answer(ctx, in)
		}).send(w)
	})
}

// answered does a call that its bounds let in, and gives what is answered.
func answered(r *http.Request, b *Bounds, call func() (proto.Message, error)) *reply {
	if err := b.enter(); err != nil {
		return replyOf(r, nil, err)
	}
	defer b.leave()
	out, err := call()
	return replyOf(r, out, err)
}

// timeout takes the deadline of the header Grpc-Timeout, which is that of gRPC: a
// number of up to eight digits and a unit.
func timeout(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("grpc-timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}
	unit, known := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if err != nil || !known || len(text) > 9 {
		return nil, nil, status.Error(codes.InvalidArgument, "invalid grpc-timeout: "+refusal.Clip(text))
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(min(n, uint64(365*24*time.Hour/unit)))*unit)
	return ctx, cancel, nil
}

// mostDiscarded bounds what is read of a body that nobody looks at, in bytes.
const mostDiscarded = 32 << 20

// discard reads what a client is about to send of a body that is refused. Most clients
// send all before they read, and if the connection ended they would not learn why. One
// that asks first has not sent anything.
func discard(r *http.Request) {
	if r.Header.Get("expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, mostDiscarded)
	}
}

// read reads the body of a request.
func read(r *http.Request, b *Bounds) ([]byte, error) {
	body, err := readBody(r, b)
	var refused refusedError
	switch {
	case errors.As(err, &refused):
		discard(r)
		return nil, refused.error
	case errors.Is(err, errTooLarge):
		discard(r)
		size := "more"
		if r.ContentLength > 0 {
			size = strconv.FormatInt(r.ContentLength, 10)
		}
		return nil, status.Error(codes.ResourceExhausted, fmt.Sprintf("grpc: received message larger than max (%s vs. %d)", size, b.Message))
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, "the body can't be read")
	}
	return body, nil
}

// decode reads a body as a message. An empty one is the empty message.
func decode(body []byte, in proto.Message) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := protojson.Unmarshal(body, in); err != nil {
		// Its spaces are not always the same.
		return status.Error(codes.InvalidArgument, refusal.Clip(strings.ReplaceAll(err.Error(), "\u00a0", " ")))
	}
	return nil
}

var errTooLarge = errors.New("too large")

// firstBytes is what a body may take of memory before any of it is there, and
// without being counted.
const firstBytes = 64 << 10

// readBody reads a body that is no longer than messages may be. It takes memory for
// what has arrived, and not for what the client says is coming.
func readBody(r *http.Request, b *Bounds) ([]byte, error) {
	limit := int64(b.Message)
	if limit <= 0 {
		limit = math.MaxInt64 - 1
	}
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, firstBytes)) + bytes.MinRead)
	}
	in := arriving{Reader: io.LimitReader(r.Body, limit+1), bounds: b}
	defer in.release()
	n, err := body.ReadFrom(&in)
	if n > limit {
		return nil, errTooLarge
	}
	return body.Bytes(), err
}

// A refusedError is that of bounds.
type refusedError struct{ error }

// An arriving body counts what is kept of it.
type arriving struct {
	io.Reader
	bounds *Bounds
	read   int
	held   int // of bounds
}

// Read reads some more, and gives the error of bounds that refuse it.
func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.read += n
	if more := a.read - firstBytes - a.held; more > 0 {
		if refused := a.bounds.hold(more); refused != nil {
			return n, refusedError{refused}
		}
		a.held += more
	}
	return n, err
}

func (a *arriving) release() {
	if a.held > 0 {
		a.bounds.release(a.held)
	}
}

// Respond writes what a call came to.
func Respond(w http.ResponseWriter, r *http.Request, out proto.Message, err error) {
	replyOf(r, out, err).send(w)
}

// Fail writes an error, as a google.rpc.Status.
func Fail(w http.ResponseWriter, r *http.Request, st *status.Status, httpStatus int) {
	encode(r, httpStatus, st.Proto()).send(w)
}

// WriteMessage writes a message as JSON.
func WriteMessage(w http.ResponseWriter, r *http.Request, httpStatus int, m proto.Message) {
	encode(r, httpStatus, m).send(w)
}

// A reply is an answer that is ready to be sent.
type reply struct {
	status  int
	version bool // it carries that of Cerbos, as answers to calls do
	body    []byte
}

// replyOf gives what is answered to a call.
func replyOf(r *http.Request, out proto.Message, err error) *reply {
	if err != nil {
		st := status.Convert(err)
		return encode(r, HTTPStatus(st.Code()), st.Proto())
	}
	a := encode(r, http.StatusOK, out)
	a.version = true
	return a
}

func (a *reply) send(w http.ResponseWriter) {
	h := w.Header()
	if a.version {
		h.Set("Grpc-Metadata-Cerbos-Version", CerbosVersion)
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff") // errors repeat what was sent
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client is gone if this fails
}

// The length, in bytes, and the nesting of answers that are written on many lines.
// Beyond them the spaces would be many times as long as what they indent.
const (
	mostPretty    = 256 << 10
	deepestPretty = 64
)

// readable tells whether people could read JSON on many lines.
func readable(b []byte) bool {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > deepestPretty {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return len(b) <= mostPretty
}

// encode gives a message as JSON, on many lines if the query has pretty and people
// could read it.
func encode(r *http.Request, httpStatus int, m proto.Message) *reply {
	b, err := protojson.Marshal(m)
	if err != nil {
		// A number that JSON can't hold, in the output of a rule.
		httpStatus, b = http.StatusInternalServerError, []byte(`{"code":13,"message":"the answer has no form in JSON"}`)
	}
	// The spaces of protojson are not always the same.
	var out bytes.Buffer
	if r.URL.Query().Has("pretty") && readable(b) {
		err = json.Indent(&out, b, "", "  ")
	} else {
		err = json.Compact(&out, b)
	}
	if err != nil { // it is JSON, so this can't happen
		httpStatus = http.StatusInternalServerError
		out.Reset()
	}
	return &reply{status: httpStatus, body: out.Bytes()}
}

// HTTPStatus gives the HTTP status of a code of gRPC, as
// google/rpc/code.proto says.
func HTTPStatus(code codes.Code) int {
	switch code {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return 499 // client closed request
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
