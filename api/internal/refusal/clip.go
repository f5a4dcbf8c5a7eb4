package refusal

import "strings"

// mostRepeated bounds what an error repeats of a request at a time, in bytes.
const mostRepeated = 256

// Clip shortens and mends a text that may hold what a client sent.
func Clip(text string) string {
	if len(text) <= mostRepeated {
		return strings.ToValidUTF8(text, "\ufffd")
	}
	return strings.ToValidUTF8(text[:mostRepeated], "\ufffd") + "…"
}
