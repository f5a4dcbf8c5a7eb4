//go:build !race

package api

// raceEnabled tells that the race detector is on.
const raceEnabled = false
