// Package grpcbody reads the message of a unary gRPC call: the frame, and in it
// the protobuf message that a descriptor set says the method takes.
//
// What always holds here:
//
//  1. A body is one frame that is not compressed and ends where the body ends
//     (gRPC over HTTP/2, "Length-Prefixed-Message"). Anything else is an error.
//  2. A message is read whole or not at all: bytes that are no message of the
//     type, text that is not UTF-8, an enum value or, unless it is asked to
//     ignore them, a field that the descriptors do not know, are an error.
//  3. Integers stay integers, however large.
//  4. The depth and number of the values of a message are bounded.
//  5. Methods never change, and are safe for concurrent use.
package grpcbody
