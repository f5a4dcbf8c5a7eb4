// Package repl evaluates CEL as policies would, line by line: for people at a
// terminal, and for scripts.
//
// What always holds here:
//
//  1. An expression gives what it would give in a policy: the environment, the
//     variables, the constants and the derived roles are the engine's.
//  2. No input ends the session but :quit and the end of input. A panic is told
//     as an error of its line.
//  3. A request never changes: whoever sets a part of it makes a new one. So
//     values that were kept stay what they were.
//  4. Policies that do not compile never take the place of policies that do.
//  5. Answers go to one writer, everything else to another.
package repl
