// Package filtertoken tells backends which rows a request may see, in a token
// that only Edict can make.
//
//	Claims ─► Issuer.Append ─► JWS compact (RFC 7515, EdDSA by RFC 8037)
//	                │
//	                └ too large: the filter stays here, and the token has a handle
//	                                             │
//	backend ─ POST TakePath {"handle": …} ───────┘ once, until the token expires
//
// What always holds here:
//
//  1. All that a token says is signed: the filter or its handle, the request
//     that it is for, and until when.
//  2. A token is never longer than Options.MaxBytes. What does not fit, or is
//     more than can be kept, is an error and no smaller filter.
//  3. What waits to be fetched is bounded by number and by bytes.
//  4. A handle has 256 random bits, is good for one answer and as long as its
//     token, and only its hash is kept.
//  5. There is a key from the beginning. A file that can't be read again changes
//     nothing, and a key that was replaced is told of as long as tokens by it
//     are good.
package filtertoken
