package api

import (
	"math/rand/v2"
	"time"
)

// crockford is the alphabet of ULIDs.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newCallID gives a new ULID: 48 bits of Unix time in milliseconds and 80 random
// bits, in Crockford's base 32 (https://github.com/ulid/spec). It is unique, and
// no secret.
func newCallID(now time.Time) string {
	var id [26]byte
	ms := uint64(now.UnixMilli())
	for i := 9; i >= 0; i-- {
		id[i] = crockford[ms&31]
		ms >>= 5
	}
	for i := 10; i < len(id); i += 8 {
		r := rand.Uint64()
		for j := range 8 {
			id[i+j] = crockford[r&31]
			r >>= 5
		}
	}
	return string(id[:])
}
