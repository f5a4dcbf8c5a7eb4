// Package oracle is a slow and obvious second implementation of how policies
// decide, for tests only: a reference interpreter, a generator of random
// policies and requests, and a shrinker of inputs on which engine and
// interpreter differ.
//
// What always holds here:
//
//  1. The interpreter shares no deciding code with the engine. It has its own
//     globs, its own sanitising of names, its own CEL environment.
//  2. It keeps nothing between two questions but CEL programs, by their text.
//     Every variable, derived role and condition is evaluated anew wherever the
//     rules of evaluation name it; what a request has seen before matters for
//     one thing only, the output of a rule whose derived role does not hold.
//  3. The generator is a pure function of its seed.
//  4. Interpreter and generator know the whole language of policies. What is no
//     set of policies makes the interpreter panic; it never guesses.
//  5. Where Cerbos has no order of its own (of inherited roles, of the blocks of
//     a principal policy, of derived roles in a rule) the interpreter takes that
//     of the policies, or another that it is told.
package oracle
