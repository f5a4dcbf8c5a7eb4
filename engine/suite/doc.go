// Package suite runs tests of policies: suites in the Cerbos format, files
// called *_test.yaml that say who asks for what and which answer is expected.
//
// What always holds here:
//
//  1. A suite that cannot be read or makes no sense is an error of the run. It
//     never counts as passed or skipped, and a filter cannot hide it.
//  2. All that is wrong with a suite is reported at once, each with its place
//     and, where there is one, the mend.
//  3. What no expectation names is expected to be denied.
//  4. A check that panics, gives no answer, or reads the clock while the test
//     sets none, is an error. It meets no expectation, not even one of a deny.
//  5. A Report depends on the suites, the policies and the options alone: not
//     on the number of goroutines, nor on their order.
package suite
