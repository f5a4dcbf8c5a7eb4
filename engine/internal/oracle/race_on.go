//go:build race

package oracle

// Race tells whether the race detector is on, which makes all this about ten
// times slower.
const Race = true
