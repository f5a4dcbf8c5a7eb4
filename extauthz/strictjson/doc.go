// Package strictjson reads JSON in the one way in which everybody reads it:
// what two readers could take for two things is an error.
//
// What always holds here:
//
//  1. A text is valid UTF-8, one JSON value (RFC 8259) and nothing behind it.
//  2. No name is twice in an object, once its escapes are undone (RFC 7493
//     §2.3).
//  3. Every number is a double that no other integer rounds to (RFC 7493 §2.2).
//  4. Depth and number of values are bounded, so that reading a text, and
//     comparing what is in it, costs no more than a bounded time.
package strictjson
