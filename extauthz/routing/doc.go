// Package routing finds the route of a request: patterns of host, method, path,
// upgrade, headers and query, compiled once to an immutable table.
//
// A path pattern is a template in the grammar of Envoy's path templates
// (envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig), or one
// or all methods of a gRPC service:
//
//	/albums/{id}           one segment, captured
//	/albums/*              one segment
//	/v{version}/{id}.json  a part of a segment, captured
//	/files/{path=**}       the rest of the path, captured
//	/files/**.jpg          the rest, with its end given
//	/{name=shops/*}/items  several segments, captured together
//
// A trailing slash is exact: /a does not match /a/, nor /a/ the path /a. A **
// takes what follows its slash: /a/** matches /a/, /a/b and /a/b/, not /a.
//
// Which of several matching patterns is used does not depend on their order.
// They are compared by these, the first that differs decides:
//
//  1. Host: an exact name, then the longest wildcard suffix, then any host.
//  2. Path, segment by segment from the left: a literal (a trailing slash is
//     one), then a wildcard with literal text around it (the longer text before
//     it first, then the longer text after it), then a plain * or {name}, then
//     **. Between two ** at the same place: the one with more literal segments
//     after it, then the one with the longer end text.
//  3. Method: listed, then any. A HEAD request takes a pattern that lists HEAD,
//     then one that lists GET, then one for any method. CONNECT is taken by
//     patterns that list it alone.
//  4. Upgrade: that of the request, then any. A pattern takes no handshake
//     unless it says so.
//  5. Matchers: the larger number of them; then the larger number of those on
//     headers; then the larger number of exact ones, of prefixes, of suffixes,
//     of contained texts, of regular expressions, of those that ask for
//     presence, and of those that ask for absence. Of two that are alike in all
//     of this, the one that fits less: a^ab before a^a.
//
// Patterns that this does not order are a Conflict, and there is no table,
// unless it is certain that no request fits both. Of two matchers on one name
// that is certain if one asks for absence and the other does not, if an exact
// text does not fit the other, and of two prefixes or suffixes neither of which
// begins or ends with the other. Regular expressions are not looked into.
//
// Where the routes that fit by the first four are told apart by a header or
// parameter that came more than once, the request is refused: whatever route it
// takes, the upstream might read the other value. So is one with a comma in a
// header whose value counts, if Envoy has joined headers.
//
// What always holds here:
//
//  1. A Table never changes after New, and is safe for concurrent use. A nil
//     Table, an empty host or method and a refused target match nothing.
//  2. The answer is that of trying every pattern and taking the best by the
//     order above. A better path without a route for the method gives way to
//     the next best.
//  3. A literal is compared with the decoded segment, exactly.
//  4. Matching and reading a capture of one segment allocate nothing, save what
//     a first look at the query does.
//  5. One Match visits a cell of the table at most once, so no path can make it
//     cost more than the table is large: there is no exponential case. A step
//     looks at one cell, found by the hash of its literal, whose number depends
//     on neither the routes nor the siblings of a segment, and at one more for
//     each pair of lengths that the text around wildcards has at that place. A
//     walk branches only where a literal and a wildcard both fit: without such a
//     place a lookup takes one step per segment, however many routes there are.
//  6. What tells the routes of one path apart is read once. Routes with exact
//     matchers are found by their values; no more than 100 of one path have to
//     be tried one after another, or there is no table.
package routing
