// Package parallel does the same work on many things at once.
//
// What always holds here:
//
//  1. When Do returns, all calls have returned: no goroutine outlives it.
//  2. A panic in a call becomes a panic of Do, for whoever called it to
//     recover from. One in a goroutine would end the process.
package parallel
