// Package transport carries calls of the API: as methods of gRPC, and as JSON over
// HTTP in the way of grpc-gateway, which clients of Cerbos know.
//
// What always holds here: a call reads no more than its limit, and what can't be
// read is answered with an error of gRPC.
package transport

// CerbosVersion is the version of Cerbos whose API this is. Every answer carries
// it in the header cerbos-version.
const CerbosVersion = "0.55.0"
