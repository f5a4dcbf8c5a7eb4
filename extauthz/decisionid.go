package extauthz

import (
	"encoding/hex"
	"math/rand/v2"
	"time"
	"unsafe"
)

// A decisionID names one check, wherever it is told of: a UUID of version 7 (RFC
// 9562 §5.7), whose order is that of time to the millisecond. It is unique, and
// no secret.
type decisionID [36]byte

// set makes a new id. Its random bits are those of the runtime, which gives
// each thread its own, so that checks do not wait for each other.
func (d *decisionID) set(now time.Time) {
	var b [16]byte
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	high, low := rand.Uint64(), rand.Uint64()
	b[6], b[7] = 0x70|byte(high>>8)&0x0f, byte(high)
	for i := range 8 {
		b[8+i] = byte(low >> (56 - 8*i))
	}
	b[8] = 0x80 | b[8]&0x3f
	at := 0
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			d[2*at+i-1] = '-'
		}
		hex.Encode(d[2*at+i:], b[at:at+n])
		at += n
	}
}

// String gives the id without a copy. It is good until the next set.
func (d *decisionID) String() string { return unsafe.String(&d[0], len(d)) }
