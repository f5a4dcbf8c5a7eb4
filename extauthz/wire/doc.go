// Package wire reads and writes the two messages of Envoy's external
// authorization, envoy.service.auth.v3.CheckRequest and CheckResponse, in their
// protobuf form and without the generated types, since decoding into those
// costs more than deciding.
//
// A Request is a view over the bytes of a CheckRequest: one scan validates them
// and notes where things are, and reading decodes only what is asked for. The
// writing half appends the bytes of a CheckResponse.
//
// What always holds here:
//
//  1. Reset accepts a message exactly if the protobuf library accepts it, and
//     every accessor then answers as the decoded message would. Malformed bytes
//     anywhere in the message, also where nobody would look, are an error.
//  2. After an error, and before the first Reset, a Request is empty: there is
//     no HTTP request in it, no header and no metadata.
//  3. Reading allocates nothing and changes nothing, so that several goroutines
//     may read one Request. Strings, bytes and mappings alias the message and
//     live until the next Reset.
//  4. A response that was not built denies. No constructor gives a response
//     without a status, and none but AppendAllowed gives status 0, which Envoy
//     takes as an allow.
//  5. A header that does not satisfy ValidHeader is never written: it turns an
//     allow into a deny, since leaving it out could let the client's own header
//     of that name through, and is left out of a deny. The same holds for
//     query parameters and metadata.
//  6. What is written always parses: text that is not UTF-8 is mended first, and
//     metadata is not nested deeper than Envoy reads. A response that Envoy
//     cannot parse would be a failure of the service, which failure_mode_allow
//     turns into an allow.
package wire
