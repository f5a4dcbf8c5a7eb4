package protovalue

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// ValidText is ValidUTF8 of a string.
func ValidText(s string) bool { return ValidUTF8(unsafe.Slice(unsafe.StringData(s), len(s))) }

// ValidUTF8 tells whether b is valid UTF-8. It is made for the short texts of
// ASCII that messages mostly hold.
func ValidUTF8(b []byte) bool {
	const high = 0x8080808080808080 // the bits that no byte of ASCII has
	n := len(b)
	if n < 8 {
		bits := byte(0)
		for _, c := range b {
			bits |= c
		}
		return bits < utf8.RuneSelf || utf8.Valid(b)
	}
	bits := binary.LittleEndian.Uint64(b[n-8:]) // the last eight, which may overlap
	for i := 0; i <= n-8; i += 8 {
		bits |= binary.LittleEndian.Uint64(b[i:])
	}
	return bits&high == 0 || utf8.Valid(b)
}
