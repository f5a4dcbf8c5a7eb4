// Package transport carries calls of the API: as methods of gRPC, and as JSON over
// HTTP in the way of grpc-gateway, which clients of Cerbos know.
//
// What always holds here:
//
//  1. A call reads no more than its limit, and what can't be read is answered with
//     an error of gRPC.
//  2. A call that its bounds do not let in is not read, and one that they let in
//     leaves, whatever becomes of it. It has left before its answer is sent, and
//     over HTTP it enters once its body has arrived: who sends or reads slowly
//     keeps nobody out.
package transport

// CerbosVersion is the version of Cerbos whose API this is. Every answer carries
// it in the header cerbos-version.
const CerbosVersion = "0.55.0"
