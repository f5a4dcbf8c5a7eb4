// Package expr is the one place where CEL is configured, compiled and run. The
// conditions of policies, the expressions of route maps and the tools all use
// it, each with its own variables and the same functions.
//
// A Program keeps little: the source, and closures that run what most policies
// consist of. cel-go's own form of an expression, which takes two to three times
// as much, is made at once only for what the closures do not cover; for the rest
// it is made when the closures first meet operands that they leave to it. That
// first time takes some hundred microseconds. It can't fail: the source was
// checked when it was compiled.
//
// A program can be run on part of its data, too: Residual gives what is left of
// it. For that it is taken apart, once, when it is first asked for.
//
// What always holds here:
//
//  1. An Env and a Program never change once built, so far as anybody can see,
//     and are safe for concurrent use.
//  2. A Program never panics and never returns Go errors: a failed evaluation is
//     a Value of kind Error, which is not true.
//  3. A Program runs in one of two ways, a chain of closures or cel-go itself,
//     with equal answers; which one is nobody's business outside. A bound
//     Program answers as the one it was made of.
//  4. All a run needs comes from its Frame. Nothing reads the clock or the
//     environment; whether the instant of the Frame was read, the Frame tells.
//  5. What compiles is bounded in length, in the depth of its loops, in its
//     regular expressions and in the steps it may take: see MaxSource and its
//     neighbours.
//  6. What runs is bounded, too, whatever the data: the programs that run on one
//     Frame may take MaxSteps steps between two calls of Reset, and then fail.
//  7. Constants are computed, and functions answer, as in Cerbos 0.55.0, whose
//     answers testdata/cerbos holds.
package expr
