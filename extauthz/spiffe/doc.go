// Package spiffe reads the SPIFFE IDs of workloads, and patterns of them.
//
// What always holds here:
//
//  1. An ID is parsed strictly (SPIFFE-ID §2): in lower case where it has to be,
//     without a port, a query, an escape or a segment of dots.
//  2. An ID is compared as a whole or segment by segment, never by a prefix: a
//     service account "admin" is not one called "admin-test".
//  3. A trust domain is compared exactly. There are no wildcards for it.
package spiffe
