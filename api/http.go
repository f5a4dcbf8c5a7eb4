package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
)

// HTTPOptions says what the HTTP side has beside the calls themselves.
type HTTPOptions struct {
	CORS CORS

	// GRPC answers gRPC that arrives over HTTP/2. Nil: nobody does.
	GRPC http.Handler

	// Health answers GET /_cerbos/health. Nil: there is no such path.
	Health grpc_health_v1.HealthServer

	// Mounted are further handlers by the patterns of http.ServeMux.
	Mounted map[string]http.Handler
}

// Handler gives the HTTP side of the API: the calls as JSON, and what the
// options add.
func (s *Server) Handler(o HTTPOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/check/resources", handle(s, s.CheckResources))
	mux.Handle("/api/plan/resources", handle(s, s.PlanResources))
	mux.Handle("/api/check", handle(s, s.CheckResourceSet))
	mux.Handle("/api/check_resource_batch", handle(s, s.CheckResourceBatch))
	mux.Handle("/api/server_info", only(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
		out, err := s.ServerInfo(r.Context(), new(cerbospb.ServerInfoRequest))
		respond(w, r, out, err)
	}))
	mux.Handle("/api/", refused(codes.NotFound, http.StatusNotFound, "Not Found"))
	mux.Handle("/api/playground/", refused(codes.Unimplemented, http.StatusNotFound, "the playground is not part of this server"))
	if o.Health != nil {
		mux.Handle("/_cerbos/health", only(http.MethodGet, healthOf(o.Health)))
	}
	for pattern, h := range o.Mounted {
		mux.Handle(pattern, h)
	}
	if _, there := o.Mounted["/admin/"]; !there {
		mux.Handle("/admin/", refused(codes.Unimplemented, http.StatusNotFound, "Admin service is disabled by the configuration"))
	}
	plain := o.CORS.wrap(mux)
	if o.GRPC == nil {
		return plain
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
			o.GRPC.ServeHTTP(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})
}

// refused answers with an error whatever is asked.
func refused(code codes.Code, httpStatus int, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, status.New(code, message), httpStatus)
	})
}

// only lets one method through.
func only(method string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			fail(w, r, status.New(codes.Unimplemented, "Method Not Allowed"), http.StatusNotImplemented)
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

// handle gives the handler of a call.
func handle[In, Out any, PIn message[In], POut message[Out]](s *Server, answer func(context.Context, PIn) (POut, error)) http.Handler {
	return only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel, err := timeout(r)
		if err != nil {
			respond(w, r, nil, err)
			return
		}
		defer cancel()
		in := PIn(new(In))
		if err := s.decode(r, in); err != nil {
			respond(w, r, nil, err)
			return
		}
		out, err := answer(ctx, in)
		respond(w, r, out, err)
	})
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
		return nil, nil, status.Error(codes.InvalidArgument, "invalid grpc-timeout: "+clip(text))
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(min(n, uint64(365*24*time.Hour/unit)))*unit)
	return ctx, cancel, nil
}

// decode reads the body of a request. An empty one is the empty message.
func (s *Server) decode(r *http.Request, in proto.Message) error {
	limit := int64(s.Limits.Message)
	body, err := readBody(r, limit)
	switch {
	case errors.Is(err, errTooLarge):
		size := "more"
		if r.ContentLength > 0 {
			size = strconv.FormatInt(r.ContentLength, 10)
		}
		return status.Error(codes.ResourceExhausted, fmt.Sprintf("grpc: received message larger than max (%s vs. %d)", size, limit))
	case err != nil:
		return status.Error(codes.InvalidArgument, "the body can't be read")
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}
	if err := protojson.Unmarshal(body, in); err != nil {
		// Its spaces are not always the same.
		return status.Error(codes.InvalidArgument, clip(strings.ReplaceAll(err.Error(), "\u00a0", " ")))
	}
	return nil
}

var errTooLarge = errors.New("too large")

// readBody reads a body of at most limit bytes; 0 means that there is no limit.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if limit <= 0 {
		return io.ReadAll(r.Body)
	}
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r.Body, limit+1))
	if n > limit {
		return nil, errTooLarge
	}
	return b.Bytes(), err
}

// mostRepeated bounds what an error repeats of a request at a time, in bytes.
const mostRepeated = 256

// clip shortens and mends a text that may hold what a client sent.
func clip(text string) string {
	if len(text) <= mostRepeated {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	return strings.ToValidUTF8(text[:mostRepeated], "\ufffd") + "…"
}

// respond writes what a call came to.
func respond(w http.ResponseWriter, r *http.Request, out proto.Message, err error) {
	if err != nil {
		st := status.Convert(err)
		fail(w, r, st, httpStatus(st.Code()))
		return
	}
	w.Header().Set("Grpc-Metadata-Cerbos-Version", CerbosVersion)
	writeMessage(w, r, http.StatusOK, out)
}

// fail writes an error, as a google.rpc.Status.
func fail(w http.ResponseWriter, r *http.Request, st *status.Status, httpStatus int) {
	writeMessage(w, r, httpStatus, st.Proto())
}

// writeMessage writes a message as JSON, on many lines if the query has pretty.
func writeMessage(w http.ResponseWriter, r *http.Request, httpStatus int, m proto.Message) {
	b, err := protojson.Marshal(m)
	if err != nil {
		// A number that JSON can't hold, in the output of a rule.
		httpStatus, b = http.StatusInternalServerError, []byte(`{"code":13,"message":"the answer has no form in JSON"}`)
	}
	// The spaces of protojson are not always the same.
	var out bytes.Buffer
	if r.URL.Query().Has("pretty") {
		err = json.Indent(&out, b, "", "  ")
	} else {
		err = json.Compact(&out, b)
	}
	if err != nil { // it is JSON, so this can't happen
		httpStatus = http.StatusInternalServerError
		out.Reset()
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff") // errors repeat what was sent
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(httpStatus)
	_, _ = w.Write(out.Bytes()) // the client is gone if this fails
}

// httpStatus gives the HTTP status of a code of gRPC, as
// google/rpc/code.proto says.
func httpStatus(code codes.Code) int {
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

// healthOf tells of the health of a service, that of all if none is named.
func healthOf(server grpc_health_v1.HealthServer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := server.Check(r.Context(), &grpc_health_v1.HealthCheckRequest{Service: r.URL.Query().Get("service")})
		if err == nil && out.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			err = status.Error(codes.Unavailable, out.GetStatus().String())
		}
		if err != nil {
			st := status.Convert(err)
			fail(w, r, st, httpStatus(st.Code()))
			return
		}
		writeMessage(w, r, http.StatusOK, out)
	}
}
