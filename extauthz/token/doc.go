// Package token verifies JSON Web Tokens (RFC 7519) of issuers that the
// configuration names, as RFC 8725 recommends, and gives their claims.
//
// What always holds here:
//
//  1. Claims are given only if the signature over the whole token was verified
//     for this call. No verdict is remembered.
//  2. A token has one spelling: base64url without padding and without spare
//     bits, JSON without repeated names, three segments. Every other spelling
//     of it is refused, so a change to any of its bytes is.
//  3. Keys come from the configuration. The token's header chooses among them by
//     kid and alg alone; keys and addresses in it (jwk, jku, x5c, x5u) are not
//     looked at. A key verifies the algorithms of its type, and of these the
//     ones that the issuer may use. There is no none and no HMAC.
//  4. Issuer, audience and type have to be the expected ones, and the times have
//     to be right.
//  5. A call waits for keys only if the right one is not at hand, at most for
//     half of the time that is left for its answer, and a second. Whatever tokens
//     clients make up, an issuer is asked for keys at most once in
//     keyset.MinRenewal beyond the regular renewals.
package token
