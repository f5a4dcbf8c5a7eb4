package api

import (
	"google.golang.org/protobuf/encoding/protowire"

	"edict/engine"
	"edict/engine/protovalue"
	"edict/engine/value"
)

// A scanner makes questions of CheckResources requests in place, as question.read
// does of decoded ones. The zero scanner is ready for use; its memory is kept
// from one request to the next.
type scanner struct {
	scan  protovalue.Scan
	texts []string // roles and actions of the question
}

// keptTexts bounds the memory that a scanner keeps from one request for the next.
const keptTexts = 1024

// forget lets go of the request.
func (s *scanner) forget() {
	s.scan.Reset(nil)
	clear(s.texts)
	if s.texts = s.texts[:0]; cap(s.texts) > keptTexts {
		s.texts = nil
	}
}

// read makes q the question of an encoded CheckResourcesRequest, which must not
// change while it is in use. It tells whether it did so: what is malformed, what
// occurs again and must be merged, and what few clients send it leaves to the
// protobuf library, and q is of no use then. So it does with more than most resources; 0 means any
// number.
func (s *scanner) read(q *question, b []byte, most int) bool {
	if len(b) > protovalue.MaxLen {
		return false
	}
	s.scan.Reset(b)
	s.scan.InOrder()
	depth := protovalue.MaxDepth - 1
	for lo := 0; lo < len(b); {
		num, typ, from, to, f := s.scan.Field(lo, len(b))
		if f != protovalue.OK {
			return false
		}
		lo = to
		switch {
		case num == 1 && typ == protowire.BytesType:
			if !s.text(&q.requestID, from, to) {
				return false
			}
		case num == 2 && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b[from:to])
			q.includeMeta = v != 0
		case num == 3 && typ == protowire.BytesType:
			if q.hasPrincipal || !s.principal(q, from, to, depth-1) {
				return false
			}
		case num == 4 && typ == protowire.BytesType:
			if most > 0 && len(q.entries) == most || !s.entry(q, from, to, depth-1) {
				return false
			}
		case num == 5 || num == 6: // tokens, annotations
			return false
		}
	}
	return true
}

// text sets a text to the value of a field, unless that is not UTF-8.
func (s *scanner) text(dst *string, from, to int) bool {
	span, f := s.scan.UTF8(from, to)
	*dst = s.scan.Text(span)
	return f == protovalue.OK
}

// add adds the value of a field to the texts, unless that is not UTF-8.
func (s *scanner) add(from, to int) bool {
	span, f := s.scan.UTF8(from, to)
	s.texts = append(s.texts, s.scan.Text(span))
	return f == protovalue.OK
}

func (s *scanner) principal(q *question, lo, end, depth int) bool {
	var p party
	first := len(s.texts)
	ok := s.party(&p, rolesOfPrincipal, lo, end, depth)
	q.hasPrincipal = true
	q.principal = engine.Principal{ID: p.texts[1], PolicyVersion: p.texts[2], Roles: s.texts[first:len(s.texts):len(s.texts)], Attr: p.attr, Scope: p.texts[5]}
	return ok
}

func (s *scanner) entry(q *question, lo, end, depth int) bool {
	depth--
	e := entry{}
	first := len(s.texts)
	for lo < end {
		num, typ, from, to, f := s.scan.Field(lo, end)
		if f != protovalue.OK {
			return false
		}
		lo = to
		switch {
		case num == 1 && typ == protowire.BytesType:
			if !s.add(from, to) {
				return false
			}
		case num == 2 && typ == protowire.BytesType:
			var p party
			if e.hasResource || !s.party(&p, noRoles, from, to, depth-1) {
				return false
			}
			e.hasResource = true
			e.resource = engine.Resource{Kind: p.texts[1], PolicyVersion: p.texts[2], ID: p.texts[3], Attr: p.attr, Scope: p.texts[5]}
		}
	}
	e.actions = s.texts[first:len(s.texts):len(s.texts)]
	q.entries = append(q.entries, e)
	return true
}

// A party is a principal or a resource: the two are of one shape, but for the
// roles of a principal.
type party struct {
	texts [6]string // by number of the field
	attr  value.Mapping
}

// The number of the field with the roles.
const (
	noRoles          = 0
	rolesOfPrincipal = 3
)

// party scans a party, of which depth more may nest, itself included. Its roles
// are added to the texts.
func (s *scanner) party(p *party, roles, lo, end, depth int) bool {
	depth--
	var keys protovalue.Keys
	base := s.scan.Mark()
	for lo < end {
		num, typ, from, to, f := s.scan.Field(lo, end)
		if f != protovalue.OK {
			return false
		}
		lo = to
		switch {
		case typ != protowire.BytesType || num > 5:
		case num == 4:
			e, f := s.scan.ValueEntry(from, to, depth-1)
			if f != protovalue.OK || !s.scan.Add(&keys, base, e) {
				return false
			}
		case num == roles:
			if !s.add(from, to) {
				return false
			}
		default:
			if !s.text(&p.texts[num], from, to) {
				return false
			}
		}
	}
	p.attr = s.scan.Mapping(s.scan.CloseMap(&keys, base))
	return true
}
