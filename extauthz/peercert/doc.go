// Package peercert reads the certificate of the client, as Envoy sends it with
// include_peer_certificate: the leaf, in PEM, percent-encoded.
//
// What always holds here:
//
//  1. The certificate is read and nothing else. Whether it is to be trusted was
//     decided by the validation context of Envoy's listener: without one, Envoy
//     does not ask for a certificate, and there is none to read.
//  2. Text that is not exactly one certificate is an error, and what is read of
//     a certificate is what its issuer signed: nothing is guessed from the
//     subject if a name is missing.
//  3. Reading is bounded by MaxSize.
package peercert
