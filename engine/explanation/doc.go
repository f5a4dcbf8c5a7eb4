// Package explanation gives the explanation of a decision in a form for people
// and in one for programs.
//
// What always holds here:
//
//  1. The text and the JSON are made from one Document, so that neither tells
//     what the other does not know.
//  2. The first that is told of an action is one sentence with the decision and
//     the rule, with its place, that made it.
//  3. The names of the JSON form are stable: fields are added, never renamed or
//     given another meaning.
//  4. A Document shares nothing with the request, and is all there is to show: it
//     can be kept.
package explanation
