// Package diag says what is wrong with a file and where: positions,
// diagnostics and the way they are shown to a person.
//
// What always holds here:
//
//  1. Lines and columns count from 1; a column counts characters, not bytes.
//  2. A List keeps every diagnostic it was given; sorting and dropping
//     repetitions happen once, when it is read.
//  3. A diagnostic about a file shows the line and, where there is one, the mend.
package diag
