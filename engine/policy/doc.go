// Package policy holds parsed policies: what a file in the Cerbos format says,
// with the place of every node.
//
// What always holds here:
//
//  1. Plain data. Nothing here reads files, compiles or decides.
//  2. Every Text, rule, condition and definition knows its Position.
//  3. A Policy has exactly one body: one of its body pointers is not nil.
package policy
