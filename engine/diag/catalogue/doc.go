// Package catalogue says, for every code that a diagnostic can have, what it
// means, why it matters, and how a file that has the mistake is mended.
//
// What always holds here:
//
//  1. Every code of the source has an entry, and every entry is of a code.
//  2. The example of an entry gives its code and no other; its mended form
//     gives nothing.
//  3. The pages below docs/diagnostics are made from the entries, never by
//     hand: go test ./engine/diag/catalogue -update writes them.
package catalogue
