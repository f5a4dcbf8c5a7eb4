// Package conformance finds, for tests, the cases that tell how Cerbos decides.
// They lie beside the repository, or where CONFORMANCE_DIR says.
//
// What always holds here:
//
//  1. Where the data is not there, a test is skipped and says so.
//  2. A test that runs fewer cases than the manifest counts fails.
//  3. Nothing but tests imports this package.
package conformance
