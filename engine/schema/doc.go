// Package schema holds the JSON schemas that attributes of principals and
// resources are checked against, and what those schemas tell about an attribute
// before any request comes.
//
// What always holds here:
//
//  1. Nothing is fetched: a schema is a file of the set, or it does not load.
//  2. A schema is compiled once; validating reads it alone and takes no lock.
//  3. No schema and no attributes make this package panic: what cannot be
//     compiled is an error, what cannot be validated a failure.
//  4. Facts about an attribute err on one side: "anything" when in doubt.
package schema
