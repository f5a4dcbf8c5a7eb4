// Package authzenpb is the messages of the AuthZEN Authorization API in Go. All
// but this file is generated from api/proto by `make proto`.
//
// What always holds here: the JSON of the messages is that of the specification
// (https://openid.net/specs/authorization-api-1_0.html), and packages, names and
// numbers are those of Cerbos 0.55.
package authzenpb
