// Package authzen answers the calls of the AuthZEN Authorization API 1.0
// (https://openid.net/specs/authorization-api-1_0.html), over gRPC and as JSON
// over HTTP, as Cerbos 0.55 maps them to its own.
//
// What always holds here:
//
//  1. A decision is true only if the engine allows the action of this very
//     evaluation: by its own subject with all of its properties, its own
//     resource and its own context. No two evaluations are taken for one.
//  2. All evaluations of a call are decided by the same policies. An error in
//     one is the error of all, and names no decision.
//  3. Decisions are in the order of the evaluations.
//  4. Claims reach the engine only from tokens that were verified for the call.
package authzen
