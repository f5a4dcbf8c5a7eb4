// Package protovalue reads google.protobuf.Struct and google.protobuf.Value in
// the bytes of a message, in place and without the generated types, since
// decoding into those costs more than deciding.
//
// A Scan goes over the bytes of one message, field by field, as its caller
// directs it: the caller knows the message, the Scan knows the values in it. It
// validates all that it goes over, notes where the values are, and decodes one
// when it is read.
//
// What always holds here:
//
//  1. A Scan accepts what the protobuf library accepts, and refuses what it
//     refuses, or says Repeated: of a field or key that occurs again. A caller
//     that is told so has the message decoded by the protobuf library.
//  2. What is read from a Scan is what the library would have decoded.
//  3. Reading allocates nothing and changes nothing, so that several goroutines
//     may read. Strings and values alias the message and live until the next
//     Reset.
//  4. No message makes a Scan take time that grows faster than its length, nor
//     go deeper than the protobuf library does. Looking up a key takes no longer
//     in a map of many keys than in one of a few dozen.
package protovalue
