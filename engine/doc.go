// Package engine decides: it compiles policies in the Cerbos format to an
// immutable PolicySet and answers, for a principal and a resource, which
// actions are allowed.
//
//	policy files ─policyfile─► policy.Policy ─Compile─► PolicySet ─Check─► Decision
//
// What always holds here:
//
//  1. No decision is a refusal: the zero Result and the zero Decision refuse,
//     and nothing but an allowing rule makes a Result allow.
//  2. A PolicySet never changes after Compile, and is safe for concurrent use.
//  3. Compile either gives a PolicySet of all policies or says, with file, line
//     and column, everything that is wrong with them. What the engine does not
//     decide yet it refuses to load.
//  4. Check parses and compiles nothing, takes no lock, and costs what the
//     policy of the requested kind costs, however many others are loaded.
//  5. The engine knows nothing of Envoy, HTTP or files.
package engine
