// Package schema holds the JSON schemas that attributes of principals and
// resources are checked against, and what those schemas tell about an attribute
// before any request comes.
//
// What always holds here:
//
//  1. Nothing is fetched: a schema is a file of the set, or it does not load.
//     The library knows the metaschemas of the drafts by itself.
//  2. A schema is compiled once; validating reads it alone and takes no lock.
//  3. The verdict and the messages are those of the library that Cerbos uses, in
//     its version. A rule may only spare the library attributes that it would
//     let pass.
//  4. No schema and no attributes make this package panic: what cannot be
//     compiled is an error, what cannot be validated a failure.
//  5. A Shape is never narrower than its schema: "anything" when in doubt.
package schema
