// Package coverage tells which parts of policies tests have tried: rules, the
// outcomes of the expressions in conditions, and the cells of each resource
// policy's table of roles and actions.
//
// What always holds here:
//
//  1. What there is to cover is read from the policies, not from what was run:
//     a policy that no test touches counts in full.
//  2. A rule is covered once it was activated: it matched, and its condition
//     held. That it was looked at is not enough.
//  3. An expression has two branches, true and false. One that could not be
//     evaluated covers neither.
//  4. A cell is covered once the policy was asked about the action for a
//     principal in the role, whatever the answer.
//  5. Where there is nothing to cover, all of it is covered.
package coverage
