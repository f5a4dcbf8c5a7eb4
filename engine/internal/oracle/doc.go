// Package oracle is a slow and obvious second implementation of how policies
// decide, for tests only: a reference interpreter, a generator of random
// policies and requests, and a shrinker of inputs on which engine and
// interpreter differ.
//
// What always holds here:
//
//  1. The interpreter shares no deciding code with the engine. It has its own
//     globs, its own sanitising of names, its own CEL environment.
//  2. It keeps nothing between two questions but the CEL programs, by their
//     text: every variable, derived role and condition is evaluated anew
//     wherever the rules of evaluation name it.
//  3. The generator is a pure function of its seed.
//  4. What the interpreter does not know (scopes' permissions, kinds of
//     policies, outputs) makes it panic; it never guesses.
package oracle
