package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec hands all other messages to
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
	"edict/engine"
)

// A checkMessage is a CheckResources request as gRPC received it, and the answer
// to it. Most requests are read where they are, into call, and answered as bytes.
// What can't be done so is decoded into the generated types.
type checkMessage struct {
	server  *Server
	call    *call
	request mem.Buffer                      // what call refers to; nil: decoded
	decoded *cerbospb.CheckResourcesRequest // nil: read in place
	answer  []byte
}

// checkMethod describes CheckResources.
func (s *Server) checkMethod() grpc.MethodDesc {
	const name = "CheckResources"
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if err := s.enter(); err != nil {
				return nil, err
			}
			defer s.leave()
			m := &checkMessage{server: s, call: s.take()}
			defer m.release()
			if err := decode(m); err != nil {
				return nil, err
			}
			transport.SetVersion(ctx)
			if interceptor == nil {
				return s.checkMessage(ctx, m)
			}
			info := &grpc.UnaryServerInfo{Server: s, FullMethod: "/" + ServiceName + "/" + name}
			return interceptor(ctx, m, info, s.checkMessage)
		},
	}
}

// release gives back what the answer does not need.
func (m *checkMessage) release() {
	if m.request != nil {
		m.request.Free()
	}
	if m.call != nil {
		m.server.release(m.call)
	}
}

// checkMessage answers a *checkMessage.
func (s *Server) checkMessage(ctx context.Context, message any) (out any, err error) {
	m := message.(*checkMessage)
	if m.request == nil {
		if m.decoded == nil { // an interceptor's own
			m.decoded = new(cerbospb.CheckResourcesRequest)
		}
		return s.CheckResources(ctx, m.decoded)
	}
	c := m.call
	m.call = nil // a call that panicked is not used again
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, status.Error(codes.Internal, "internal error")
			s.tellPanic(p)
		}
	}()
	now := time.Now()
	if s.Limits.Time > 0 {
		c.limited = limited{ctx, now.Add(s.Limits.Time)}
		ctx = &c.limited
	}
	m.answer, err = s.appendCheck(ctx, c, now)
	m.call = c
	if err != nil {
		return nil, err
	}
	return m, nil
}

// answerSize is what most answers about one resource fit into, in bytes.
const answerSize = 256

// appendCheck decides the question of a call and gives the encoded answer.
func (s *Server) appendCheck(ctx context.Context, c *call, now time.Time) ([]byte, error) {
	q := &c.question
	dst := appendText(make([]byte, 0, answerSize*max(1, len(q.entries))), 1, q.requestID)
	rest := results{includeMeta: q.includeMeta, weight: s.weight()} // from the first decision on that is not plain
	err := s.decide(ctx, c, now, func(e *entry, d *engine.Decision) error {
		if rest.list == nil && plain(d) {
			before := len(dst)
			dst = appendResult(dst, e, d, q.includeMeta)
			return rest.weight.add(len(dst) - before)
		}
		return rest.add(e, d)
	})
	if err != nil {
		return nil, err
	}
	if rest.list != nil {
		// They follow those that are written already.
		if dst, err = (proto.MarshalOptions{}).MarshalAppend(dst, &cerbospb.CheckResourcesResponse{Results: rest.list}); err != nil {
			return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err) // as gRPC says it
		}
	}
	return appendText(dst, 3, newCallID(now)), nil
}

// A limited context ends at an instant too. Nobody is woken then: whoever works
// looks.
type limited struct {
	context.Context
	until time.Time
}

// Err implements context.Context.
func (l *limited) Err() error {
	if err := l.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(l.until) {
		return context.DeadlineExceeded
	}
	return nil
}

// newCodec gives the codec that a gRPC server with the service needs: it reads
// requests of CheckResources in place, and leaves all other messages to gRPC's
// own codec.
func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*checkMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(m.answer)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2. A request that breaks a rule is decoded,
// since the error may repeat parts of it.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*checkMessage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	request := data.MaterializeToBuffer(mem.DefaultBufferPool())
	if m.read(request.ReadOnlyData()) {
		m.request = request
		return nil
	}
	request.Free()
	m.decoded = new(cerbospb.CheckResourcesRequest)
	return c.CodecV2.Unmarshal(data, m.decoded)
}

// read reads the request in place, and tells whether it could and whether the
// request keeps all rules.
func (m *checkMessage) read(request []byte) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			m.call, ok = nil, false // it is not used again
			m.server.tellPanic(p)
		}
	}()
	if !m.call.scanner.read(&m.call.question, request, m.server.Limits.Resources) {
		return false
	}
	var v violations
	v.checkResources(&m.call.question)
	return !v.Any()
}
