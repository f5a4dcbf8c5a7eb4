// Package routetest reads and runs tests of routes: a request in, and what
// Envoy is told to do with it out, through identity, route and policies.
//
// What always holds here:
//
//  1. A request is answered by the code that answers Envoy, from the encoded
//     CheckRequest to the encoded CheckResponse.
//  2. What a test expects is compared with what came, name by name. What it does
//     not name is not looked at, and a name that nothing can have is a mistake
//     in the test.
//  3. A file with a mistake runs no test, and fails.
package routetest
