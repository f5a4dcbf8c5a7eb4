// Package refusal says why a request is refused: which of its fields break which
// rules, in the words and messages of protovalidate (https://protovalidate.com),
// which clients of Cerbos know.
//
// What always holds here: an error repeats no more than a bounded part of what was
// sent, and what it repeats is text.
package refusal
