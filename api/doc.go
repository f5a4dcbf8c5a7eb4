// Package api answers the calls of Cerbos' own API, over gRPC and as JSON over
// HTTP, so that applications which use an SDK of Cerbos can ask Edict.
//
// What always holds here:
//
//  1. An action is allowed in an answer only if the engine's Result of that
//     action says so. What can't be read, breaks a rule, exceeds a limit, panics
//     or comes too late is an error, and an error names no effect.
//  2. A token's claims reach the engine only if the whole token was verified for
//     this very call. One bad token fails the call.
//  3. A call is answered by one set of policies, one that was in force while it was.
//     Without any the answer is Unavailable.
//  4. The two transports share everything from the question on that a message is
//     read as: the same rules in the same order, the same codes, the same words.
//     A request of CheckResources that gRPC reads in place gives the question,
//     and the answer, that it would have given decoded.
//  5. A call reads no more than Limits.Message bytes, what it is answered about
//     resources is no longer, and no error repeats more than a bounded part of what
//     was sent.
//  6. No more than Limits.InFlight calls are read and answered at once, and no more
//     than half of these wait for the keys of tokens. Who sends or reads slowly is
//     none of them, and neither are ServerInfo and health.
//  7. Why a plan can't be made is for the log, since it quotes policies.
package api
