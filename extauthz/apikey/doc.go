// Package apikey knows the API keys of a file, by their hashes: whose each is,
// and until when.
//
//	apiVersion: edict.dev/v1
//	apiKeys:
//	  - id: nightly-import
//	    hash: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	    roles: [batch]
//
// What always holds here:
//
//  1. No key is kept, and none is in a message: only hashes are.
//  2. How long it takes to find a key tells nothing of those that there are: it is
//     looked for by the beginning of its hash, which nobody can steer, and whole
//     hashes are compared in constant time.
//  3. A file with anything wrong in it changes nothing: the keys of the last good
//     one stay in force.
//  4. A key that has expired or is disabled is nobody's, like one that never was.
//
// Keys are hashed once, by SHA-256 or, with a pepper, HMAC-SHA-256. A slow hash as for
// passwords would guard against guessing, and a key of 128 random bits or more
// can't be guessed; but it would let everybody who sends requests keep the
// server busy. Keys that people make up must not be used.
package apikey
