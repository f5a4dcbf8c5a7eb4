package claims

import (
	"errors"
	"fmt"
	"strings"

	"edict/engine/value"
)

// maxSegments bounds a path, and so the ways in which it can be read.
const maxSegments = 16

// A path finds a claim.
type path struct {
	text     string
	segments []string // of a JSON Pointer; nil: text is dotted
}

// parsePath reads the name of a claim. There are two forms:
//
//   - A JSON Pointer (RFC 6901), which begins with a slash, as in
//     /resource_access/my.client/roles.
//   - A name, in which dots may lead into nested claims: realm_access.roles is
//     the claim of that name, or the member roles of the claim realm_access.
func parsePath(text string) (path, error) {
	p := path{text: text}
	switch {
	case text == "":
		return p, errors.New("the name of a claim is empty")
	case text[0] != '/':
		if strings.Count(text, ".") >= maxSegments {
			return p, fmt.Errorf("the claim %s has more than %d segments", text, maxSegments)
		}
		return p, nil
	}
	p.segments = strings.Split(text[1:], "/")
	if len(p.segments) > maxSegments {
		return p, fmt.Errorf("the claim %s has more than %d segments", text, maxSegments)
	}
	for i, s := range p.segments {
		for rest := s; ; {
			_, after, found := strings.Cut(rest, "~")
			if !found {
				break
			}
			if after == "" || after[0] != '0' && after[0] != '1' {
				return p, fmt.Errorf("the claim %s is no JSON Pointer: write ~0 for ~ and ~1 for / in a name", text)
			}
			rest = after
		}
		p.segments[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return p, nil
}

// CheckName tells what is wrong with the name of a claim.
func CheckName(name string) error {
	_, err := parsePath(name)
	return err
}

// find gives the claim and whether it is there. What the path leads through
// must be maps.
func (p *path) find(claims value.Mapping) (value.Value, bool, error) {
	if p.segments == nil {
		return p.dotted(claims, p.text)
	}
	for i, name := range p.segments {
		v, ok := claims.Lookup(name)
		if !ok || i == len(p.segments)-1 {
			return v, ok, nil
		}
		if v.Kind() != value.Map {
			return v, false, fmt.Errorf("the claim %s leads through %s, which is not a map", p.text, name)
		}
		claims = v.Mapping()
	}
	return value.Value{}, false, nil
}

// dotted finds rest of the path in claims. Names may hold dots themselves, so
// every way of cutting it is tried; if two of them lead somewhere, one is what
// the issuer means and the other perhaps what a user of it made up.
func (p *path) dotted(claims value.Mapping, rest string) (found value.Value, ok bool, err error) {
	for end := 0; end < len(rest); {
		if dot := strings.IndexByte(rest[end:], '.'); dot < 0 {
			end = len(rest)
		} else {
			end += dot
		}
		v, there := claims.Lookup(rest[:end])
		if there && end < len(rest) {
			if v.Kind() != value.Map {
				return v, false, fmt.Errorf("the claim %s leads through %s, which is not a map", p.text, rest[:end])
			}
			if v, there, err = p.dotted(v.Mapping(), rest[end+1:]); err != nil {
				return v, false, err
			}
		}
		if there && ok {
			return v, false, fmt.Errorf("the claim %s is there in two ways; a JSON Pointer tells which one is meant", p.text)
		}
		if there {
			found, ok = v, true
		}
		end++
	}
	return found, ok, nil
}
