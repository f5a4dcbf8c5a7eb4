// Package lint doubts policies that are not wrong: rules that cannot apply,
// conditions that never hold, names that nothing uses.
//
// What always holds here:
//
//  1. Every diagnostic is a Warning, and Check never changes what is decided.
//  2. Silence is the rule in doubt: a warning states something that can be read
//     off the policies, and its code's comment says exactly what.
//  3. Whoever knows better says so in the file, where readers see it too:
//     # edict:ignore CODE reason
//  4. Expressions are read as their author wrote them, before macros expand.
//     Whether they compile is for package engine to say; one that does not is
//     passed over here.
package lint
