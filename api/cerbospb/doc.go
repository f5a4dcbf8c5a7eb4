// Package cerbospb is the messages of Cerbos' API in Go. All but this file is
// generated from api/proto by `make proto`.
//
// What always holds here: packages, names and numbers of the messages are those
// that Cerbos 0.55 has on the wire, so that its SDKs can talk to Edict, over gRPC
// and in JSON. The files in api/proto hold no more of Cerbos' schema than the API
// uses; what they leave out, like annotations, is not on the wire.
package cerbospb
