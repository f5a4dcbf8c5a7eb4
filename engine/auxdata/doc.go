// Package auxdata verifies the tokens that a request brings as auxiliary data,
// JSON Web Tokens (RFC 7519) signed by an issuer whose keys are configured,
// and gives their claims to conditions: request.auxData.jwt and
// request.auxData.jwts.
//
// What always holds here:
//
//  1. A token gives claims only if its whole text was verified for this
//     request. No verdict is remembered, not even by a signature.
//  2. A key verifies only the algorithm it is for, and the header of the token
//     has to name that one. The algorithm none verifies nothing.
//  3. exp, nbf and iat are enforced wherever they are present, with and
//     without verification of signatures.
//  4. One bad token fails all tokens of a request. The failure is an *Error,
//     whose text tells a client nothing.
//  5. The network is never asked on behalf of a request. A request waits at
//     most for the first attempt to get a key set, which is bounded in time
//     and size; afterwards key sets are renewed in the background, and the
//     last good one stays in force when that fails.
package auxdata
