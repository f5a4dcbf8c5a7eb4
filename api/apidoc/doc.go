// Package apidoc describes HTTP APIs whose messages are protobuf, as an OpenAPI
// document of version 2.0 (https://swagger.io/specification/v2/), which is the one
// that Cerbos serves.
//
// What always holds here: what the document says of messages of protobuf is read from
// their descriptors, which answers are made by, too.
package apidoc
