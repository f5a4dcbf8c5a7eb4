// Package cookie reads one cookie of a request (RFC 6265 §4.2).
//
// Servers disagree about the rest of a Cookie header: about quotes, commas,
// names without a value, and which of two cookies of one name counts. So what is
// read is a cookie that all of them find, and find the same in; what some could
// find another value for is refused.
//
// What always holds here:
//
//  1. A name that could be found twice, by whatever delimiter, is a refusal,
//     not the first or the last value.
//  2. A value that is given consists of the octets that RFC 6265 has in values:
//     no space, quote, comma, semicolon or backslash, no control character,
//     ASCII alone. It is not decoded.
//  3. A cookie that nobody reads refuses nothing: browsers send many that break
//     the rules.
package cookie
