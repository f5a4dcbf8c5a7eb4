// Package report writes diagnostics for programs that show them beside the
// source: SARIF 2.1.0 for code scanning, workflow commands for GitHub Actions.
//
// What always holds here:
//
//  1. Diagnostics are written in the order of the list, each once per entry of
//     it; equal lists give equal bytes.
//  2. Paths are those of the diagnostics, with slashes.
//  3. Nothing that a file holds can end a value early: every text is escaped as
//     its format demands.
package report
