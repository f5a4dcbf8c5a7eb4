// Package envoylint reads the configuration of the proxies that ask Edict, and
// says what in it would let requests pass unchecked, let clients forge what
// Edict relies on, or make checks fail: Envoy's bootstrap, its xDS resources and
// config dumps, Istio's and Envoy Gateway's manifests.
//
// What always holds here:
//
//  1. Only what is written is judged. A part that stands for itself, such as a
//     single filter, is not blamed for what may stand elsewhere.
//  2. A document that is none of those that are known is an error, unless it is
//     a Kubernetes object: nothing is passed over that was meant to be judged.
//  3. Every finding has a place, a code with a page in the catalogue, and a mend.
//  4. An error lets requests pass, believes clients, or makes checks fail. A
//     warning takes away a defence that others stand behind.
package envoylint
