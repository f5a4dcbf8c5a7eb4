// Package report shows the outcome of policy tests: as text for people, as
// JSON and JUnit XML in the shape of Cerbos, and as TAP.
//
// What always holds here:
//
//  1. Every result that failed or could not be had is in every format, with
//     what was expected and what came instead.
//  2. JSON has the fields of Cerbos' own and no others, so that readers of that
//     can read it, strict ones included. Verbose adds fields, and takes none
//     away. The same is so of JUnit XML.
//  3. The same Report gives the same bytes.
package report
