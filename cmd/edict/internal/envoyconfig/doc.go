// Package envoyconfig writes the configuration of the proxies that ask Edict, so
// that it fits what Edict reads and changes: for Envoy itself, for Istio and for
// Envoy Gateway.
//
// What always holds here:
//
//  1. What is written is closed: no answer is a refusal, every setting that
//     could let a request pass unchecked is written out.
//  2. Edict gets what its policies and route maps read, and may change what
//     they change, and nothing more.
//  3. A proxy that can't give what Edict reads is an error, never a
//     configuration that denies everything.
//  4. Equal input gives equal bytes.
package envoyconfig
