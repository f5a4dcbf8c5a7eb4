// Command differential asks the real Cerbos, the reference interpreter and the
// engine the same random questions, and prints every answer on which they
// differ, made as small as it gets. Plans it compares between Cerbos and the
// engine alone. It is for development only.
//
// What always holds here:
//
//  1. A run is a function of its seed, but for what Cerbos leaves to chance:
//     the order in which it asks the role policies of inherited roles. There
//     an answer counts as equal if it is what some order gives.
//  2. Nothing is skipped in silence: what could not be compared is counted
//     and said.
//  3. A difference of plans that docs/compatibility.md knows is counted by its
//     name, and does not count as one.
//  4. A plan is held against checks of some resources, too. It must let through
//     none that they deny, under lenient evaluation and without schemas.
//  5. The exit status is 0 only if something was compared and nothing differed.
package main
