// Package target gives the one canonical view of what an HTTP request asks
// for: path segments, query, host, method. Proxies, routers and applications
// disagree about unusual spellings of these, and a policy that judges one
// reading while the application serves another is a hole. So a spelling that
// two of them could read differently is refused, and all else is decoded
// exactly once.
//
// What always holds here:
//
//  1. Nothing but OK is a success. The zero Reason, the zero Target and the
//     Target of a refused path are refusals: they have no segments and match
//     no route.
//  2. The path ends at the first '?', is split on '/', and only then is each
//     segment decoded, once.
//  3. A decoded segment is not empty, "." or "..". It is valid UTF-8 in
//     normalization form NFKC, and holds no control character, none of
//     / \ ? # ; and no '%' followed by two hexadecimal digits. Segments joined
//     by '/' are therefore unambiguous, and decoding once more changes nothing.
//     That is so unless a caller admits other spellings by name (Accept). Even
//     then there is no "." or "..", control character, backslash or text that
//     is not UTF-8, no path begins with "//", and a path that needs no option
//     reads as it does without.
//  4. A path of plain ASCII without escapes costs no allocation; its segments
//     are substrings of the string that was parsed.
//  5. The query is read only when asked for, and a query that cannot be read
//     in one way only is an error for whoever asked.
//  6. The Reasons of refusals, as text, are stable: logs, metrics and tests
//     rely on them.
package target
