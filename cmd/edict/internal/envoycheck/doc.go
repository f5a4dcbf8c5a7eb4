// Package envoycheck holds Envoy's checks as people write, record and read
// them: a CheckRequest made of the words of a command line or a test, a
// CheckRequest in a file, and a CheckResponse as what Envoy does with it.
//
// What always holds here:
//
//  1. A Request becomes the CheckRequest that the Envoy of the demo sends for
//     it: raw headers with their pseudo-headers, the body as bytes, claims in
//     the metadata of the filter that verifies tokens.
//  2. A recorded check holds no credential: what is redacted is named in it.
//  3. An Answer allows only if its bytes do.
package envoycheck
