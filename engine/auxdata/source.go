package auxdata

import (
	"errors"
	"time"

	"edict/engine/keyset"
)

// A KeySet is a set of public keys, from exactly one of Remote and Local.
type KeySet struct {
	ID     string // what tokens name it by
	Remote *Remote
	Local  *Local

	// OptionalAlg lets keys verify every algorithm of their type if they say
	// none.
	OptionalAlg bool

	// OptionalKid lets every key of the set verify, whatever kid the token
	// names.
	OptionalKid bool
}

// A Remote is where a JWK set (RFC 7517) is fetched from.
type Remote struct {
	URL string // http or https

	// RefreshInterval is how often it is fetched. Zero: as long as the answer
	// may be cached, or hourly if that does not say.
	RefreshInterval time.Duration
}

// A Local is a key set at hand: either File or Data.
type Local struct {
	File string // looked at again every ten seconds
	Data []byte
	PEM  bool // the content is PEM; otherwise a JWK or a JWK set
}

// Validate tells what is wrong with a key set, as far as that can be told
// without the file system and the network.
func (k *KeySet) Validate() error {
	switch {
	case k.ID == "":
		return errors.New("the id is empty")
	case (k.Remote == nil) == (k.Local == nil):
		return errors.New("it must be either remote or local")
	case k.Remote != nil:
		return k.Remote.remote().Validate()
	case (k.Local.File == "") == (len(k.Local.Data) == 0):
		return errors.New("either file or data is needed")
	case k.Local.PEM && !(k.OptionalAlg && k.OptionalKid):
		return errors.New("PEM says neither alg nor kid, so no token could be verified; set insecure.optionalAlg and insecure.optionalKid")
	case k.Local.File == "":
		_, err := parseKeys(k.Local.Data, k)
		return err
	}
	return nil
}

// remote says the same to package keyset. As Cerbos does, it follows redirects
// to other hosts and believes the last good keys for ever.
func (r *Remote) remote() *keyset.Remote {
	return &keyset.Remote{URL: r.URL, RefreshInterval: r.RefreshInterval, AnyHost: true}
}

// newSource gives what holds the keys of a set and renews them.
func newSource(set KeySet, o Options) (*keyset.Source[*keys], error) {
	if err := set.Validate(); err != nil {
		return nil, err
	}
	var at keyset.Location
	if set.Remote != nil {
		at.Remote = set.Remote.remote()
	} else {
		at.File, at.Data = set.Local.File, set.Local.Data
	}
	parse := func(content []byte) (*keys, error) { return parseKeys(content, &set) }
	return keyset.New(at, parse, keyset.Options{Name: set.ID, Warn: o.Warn, Transport: o.Transport})
}
