// Package value holds the values that policies are decided over: a principal's
// and a resource's attributes, claims, headers, constants and the results of
// expressions.
//
// What always holds here:
//
//  1. A Value is immutable, and safe to share between goroutines if the Map or
//     List behind it is.
//  2. The zero Value is absent: it equals nothing, and it is never true.
//  3. Scalars carry no pointer of their own: making one allocates nothing.
//  4. A Map or List may decode lazily; reading it twice gives equal answers.
package value
