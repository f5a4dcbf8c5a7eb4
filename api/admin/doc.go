// Package admin answers the calls of Cerbos' Admin API that read: which policies
// and schemas are in force, what they say and what they are about.
//
// What always holds here:
//
//  1. Nothing is told to who has not proven to know the password, in this very
//     call. Nothing is remembered of a proof.
//  2. Nothing is changed by a call.
//  3. How long a refusal takes does not depend on which part of the credentials
//     was wrong, and no more than a few proofs are looked at at a time, of one
//     address no more than one, so that guessing leaves processors for decisions
//     and turns for others. Of one address a few more wait, and no others. No
//     proof is quicker than others, since guesses would be judged by that, however
//     many they are.
//  4. A call tells of one set of policies: that which is in force once its proof is
//     found to be right.
package admin
