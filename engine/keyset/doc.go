// Package keyset keeps sets of public keys at hand: from a file, which is read
// again, or from an issuer's server, from which they are fetched again. What
// the keys are is for the caller to say, who parses them.
//
// What always holds here:
//
//  1. Reading and fetching happen in the background. Whoever asks for keys gets
//     those that are in force, and waits only if it asks to.
//  2. The last good set stays in force while renewing it fails, for as long as
//     Remote.MaxStale allows. What can't be read or parsed changes nothing.
//  3. What is asked of a server is bounded in time, in size, and in number:
//     however many ask for an early renewal, there is one in MinRenewal.
//  4. Keys come from where the configuration says. A redirect or a discovery
//     document leads to no other host, unless that is named, and from an
//     encrypted connection never to one that is not.
package keyset
