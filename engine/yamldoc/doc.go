// Package yamldoc reads YAML strictly and keeps the place of everything it
// reads: policy files, route maps and the server's configuration are all read
// through it. JSON is read by the same parser, as the subset of YAML it is, with
// the escapes that YAML does not share (\/ and pairs of surrogates).
//
// What always holds here:
//
//  1. Nothing is dropped in silence. An unknown field, a repeated key, a value
//     of the wrong type or a second document is a diagnostic.
//  2. One mistake does not hide another: reading goes on after a diagnostic
//     wherever the rest still means something, up to MaxProblems of them.
//  3. A method that gives (value, ok) has reported why when ok is false, but
//     for Root and Object.Field, where false means absent.
//  4. Every diagnostic names the file and a line from 1, and shows that line.
//  5. Work is bounded by the size of the file: aliases and merge keys cannot
//     blow a small file up, and nesting is limited.
//  6. No type is guessed at. A number is not a string that looks like one, and
//     a scalar whose text would depend on how a reader spells numbers is
//     refused with the advice to quote it. So is a free value that is a number
//     to some readers of YAML and a string to others, like 1e3.
package yamldoc
