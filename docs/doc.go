// Package docs is the documentation, and the tests that hold it against the
// tree: packages, commands, ports, and every example.
//
// What always holds here:
//
//  1. Every fenced block that is marked as a policy, a route map or a
//     configuration loads.
//  2. Every package is in docs/architecture.md, and has a comment.
//  3. Links between pages lead somewhere.
//  4. The pages below docs/policies are run: policies decide as the tables
//     beneath them say, expressions give what stands beside them, and every
//     function has an example.
package docs
