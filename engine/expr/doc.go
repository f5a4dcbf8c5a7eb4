// Package expr is the one place where CEL is configured, compiled and run. The
// conditions of policies, the expressions of route maps and the tools all use
// it, each with its own variables and the same functions.
//
// What always holds here:
//
//  1. An Env and a Program are immutable once built, and safe for concurrent use.
//  2. A Program never panics and never returns Go errors: a failed evaluation is
//     a Value of kind Error, which is not true.
//  3. A Program runs in one of two ways, a chain of closures or cel-go itself,
//     with equal answers; which one is nobody's business outside.
//  4. All a run needs comes from its Frame. Nothing reads the clock or the
//     environment.
package expr
