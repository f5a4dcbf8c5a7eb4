// Package formbody reads the bodies of HTML forms:
// application/x-www-form-urlencoded (WHATWG URL §5) and multipart/form-data
// (RFC 7578).
//
// Parsers of forms forgive much, and each forgives something else. So a body is
// read only if it is written as browsers and HTTP libraries write it.
//
// What always holds here:
//
//  1. A body is read whole or not at all.
//  2. Names and texts are valid UTF-8 without NUL, decoded once.
//  3. A name that is there more than once has no single value: to ask for it is
//     a Repeated error, since some backends take the first and some the last.
//  4. A file gives its name, type and size, never its content.
//  5. The number of fields is bounded, and so is the cost of looking one up.
package formbody
