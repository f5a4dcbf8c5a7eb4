// Package engine decides: it compiles policies in the Cerbos format to an
// immutable PolicySet and answers, for a principal and a resource, which
// actions are allowed.
//
//	policy files ─policyfile─► policy.Policy ─Compile─► PolicySet ─Check─► Decision
//	                                                              ─Plan──► Plan
//
// What always holds here:
//
//  1. No decision is a refusal: the zero Result and the zero Decision refuse,
//     and nothing but an allowing rule makes a Result allow.
//  2. A PolicySet never changes after Compile, and is safe for concurrent use.
//  3. Compile either gives a PolicySet of all policies or says, with file, line
//     and column, everything that is wrong with them.
//  4. Check parses and compiles nothing, takes no lock, and costs what the
//     policies for the requested kind, principal and roles cost, however many
//     others are loaded.
//  5. Explain records a Check; it is no second opinion. The second opinion is
//     the oracle, which tests hold Check against.
//  6. PlanRows goes the way of Check for rows that are not known yet: its filter
//     lets through the rows that Check allows, and no other. What it can't say so
//     is an error. Under strict evaluation Plan lets through none but those, by
//     operators of Cerbos' plans.
//  7. The engine knows nothing of Envoy, HTTP or files.
package engine
