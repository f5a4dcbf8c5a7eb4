package extauthz

import (
	"strconv"
	"strings"
)

// form gives the form in which the client is told of a denial: that of gRPC to
// a gRPC client, otherwise the one that its Accept header likes best (RFC 9110
// §12.5.1). Of equals the first of the list counts, and problem details where
// it likes none, since a denial must be told in some form.
func (x *exchange) form() form {
	if isGRPC(&x.in) {
		return formGRPC
	}
	text, n := x.in.Header("accept")
	switch n {
	case 0:
		return formProblem
	case 1:
		return negotiate(text)
	}
	var all []string
	x.in.Headers(func(name, text string) bool {
		if name == "accept" {
			all = append(all, text)
		}
		return true
	})
	return negotiate(strings.Join(all, ","))
}

// negotiable are the forms with the types that ask for them.
var negotiable = [...]struct {
	form    form
	kind    string
	subtype []string
}{
	{formProblem, "application", []string{"problem+json", "json"}},
	{formText, "text", []string{"plain"}},
	{formHTML, "text", []string{"html"}},
}

// maxRanges is how much of an Accept header is looked at. Browsers send ten.
const maxRanges = 32

func negotiate(accept string) form {
	var quality [len(negotiable)]int     // in thousandths
	var specificity [len(negotiable)]int // of the range that quality is from
	for range maxRanges {
		r, rest, more := strings.Cut(accept, ",")
		kind, subtype, q := mediaRange(r)
		for i := range negotiable {
			s := specificityOf(kind, subtype, negotiable[i].kind, negotiable[i].subtype)
			if s > specificity[i] || s > 0 && s == specificity[i] && q > quality[i] {
				quality[i], specificity[i] = q, s
			}
		}
		if !more {
			break
		}
		accept = rest
	}
	best := 0
	for i := range negotiable {
		if quality[i] > quality[best] {
			best = i
		}
	}
	return negotiable[best].form
}

// specificityOf tells how closely a media range names one of some types: 3
// exactly, 2 by text/*, 1 by */*, 0 not at all.
func specificityOf(kind, subtype, wantKind string, want []string) int {
	switch {
	case kind == "*" && subtype == "*":
		return 1
	case !strings.EqualFold(kind, wantKind):
		return 0
	case subtype == "*":
		return 2
	}
	for _, w := range want {
		if strings.EqualFold(subtype, w) {
			return 3
		}
	}
	return 0
}

// mediaRange reads text/html;q=0.8. What is no media range gives one that names
// nothing; a weight that is none counts as 0.
func mediaRange(s string) (kind, subtype string, quality int) {
	s, params, _ := strings.Cut(s, ";")
	kind, subtype, ok := strings.Cut(strings.Trim(s, " \t"), "/")
	if !ok {
		return "", "", 0
	}
	quality = 1000
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		name, weight, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.Trim(name, " \t"), "q") {
			f, err := strconv.ParseFloat(strings.Trim(weight, " \t"), 64)
			if err != nil || !(f >= 0 && f <= 1) {
				return kind, subtype, 0
			}
			return kind, subtype, int(f * 1000)
		}
	}
	return kind, subtype, quality
}
