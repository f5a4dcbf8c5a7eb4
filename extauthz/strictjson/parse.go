package strictjson

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"edict/engine/value"
)

// Limits bound a text.
type Limits struct {
	Depth  int // of arrays and objects in each other
	Tokens int // names, values and closing brackets
}

// maxExact is the largest integer below which a double holds every integer (RFC
// 7493 §2.2). Beyond it two different ids would be one.
const maxExact = 1<<53 - 1

// Parse reads one JSON text. Numbers become doubles, and nothing of text is
// kept. An error may quote the text.
func Parse(text []byte, l Limits) (value.Value, error) {
	return ParseObjects(text, l, func(v value.Values) value.Mapping { return v })
}

// ParseObjects is Parse for whoever wants to look on when objects are read: each
// becomes what object makes of its members.
func ParseObjects(text []byte, l Limits, object func(value.Values) value.Mapping) (value.Value, error) {
	r := reader{decoder: jsontext.NewDecoder(bytes.NewReader(text)), limits: l, object: object}
	v, err := r.value()
	if err != nil {
		return value.Value{}, err
	}
	if _, err := r.decoder.ReadToken(); err != io.EOF {
		return value.Value{}, errors.New("something follows the JSON value")
	}
	return v, nil
}

type reader struct {
	decoder *jsontext.Decoder
	limits  Limits
	object  func(value.Values) value.Mapping
	tokens  int
}

func (r *reader) value() (value.Value, error) {
	none := value.Value{}
	t, err := r.token()
	if err != nil {
		return none, err
	}
	switch t.Kind() {
	case 'n':
		return value.OfNull(), nil
	case 't', 'f':
		return value.OfBool(t.Bool()), nil
	case '"':
		return value.OfString(t.String()), nil
	case '0':
		f, err := strconv.ParseFloat(t.String(), 64)
		if err != nil || math.Abs(f) > maxExact {
			return none, errors.New("a number is too large to be exact")
		}
		return value.OfDouble(f), nil
	case '[':
		list := value.Slice{}
		for r.decoder.PeekKind() != ']' {
			v, err := r.value()
			if err != nil {
				return none, err
			}
			list = append(list, v)
		}
		_, err := r.token()
		return value.OfSequence(list), err
	case '{':
		object := value.Values{}
		for r.decoder.PeekKind() != '}' {
			name, err := r.token()
			if err != nil {
				return none, err
			}
			key := name.String()
			v, err := r.value()
			if err != nil {
				return none, err
			}
			object[key] = v
		}
		_, err := r.token()
		return value.OfMapping(r.object(object)), err
	default:
		return none, errors.New("not a JSON value")
	}
}

func (r *reader) token() (jsontext.Token, error) {
	if r.tokens++; r.tokens > r.limits.Tokens {
		return jsontext.Token{}, errors.New("there are too many values")
	}
	t, err := r.decoder.ReadToken()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return t, err
	}
	if r.decoder.StackDepth() > r.limits.Depth {
		return t, errors.New("it is nested too deep")
	}
	return t, nil
}
