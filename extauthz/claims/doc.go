// Package claims turns the claims of a verified token into a principal: id,
// roles and attributes, whatever shape an issuer gives them.
//
// What always holds here:
//
//  1. A claim that is there in another shape than the Mapping says is an error,
//     never a principal with less: a role missing may be what a DENY rule looks
//     for.
//  2. Nothing is guessed. A text is not a list of one; a path that leads to two
//     claims leads to none.
//  3. What can be wrong with a Mapping is told when it is compiled.
package claims
