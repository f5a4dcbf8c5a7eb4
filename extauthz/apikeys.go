package extauthz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"edict/engine/diag"
	"edict/extauthz/apikey"
)

// APIKeys takes the identity from an API key, by a file that has the hashes of
// those that there are.
type APIKeys struct {
	// From lists the places that a key may be in, of which a request has one at
	// most. Empty: the header x-api-key. A key in a header or a parameter is
	// removed before the request goes upstream.
	From []TokenPlace

	File   string // see the package apikey
	Pepper string // secret that the hashes were made with, too; may be empty
}

// withDefaults gives k with empty settings filled in.
func (k APIKeys) withDefaults() (*APIKeys, error) {
	if len(k.From) == 0 {
		k.From = []TokenPlace{{Header: "x-api-key"}}
	}
	if k.File == "" {
		return nil, errors.New("file is missing")
	}
	return &k, checkPlaces(k.From)
}

// A keySource is an APIKeys, ready for use.
type keySource struct {
	from  []TokenPlace
	store *apikey.Store
	warn  func(error)

	stamp apikey.Stamp  // of the file that was read last; only run looks at it
	first chan struct{} // closed after the first attempt
}

func (k *APIKeys) compile(warn func(error)) *keySource {
	if warn == nil {
		warn = func(error) {}
	}
	return &keySource{from: k.From, store: &apikey.Store{File: k.File, Pepper: k.Pepper}, warn: warn, first: make(chan struct{})}
}

// keyInterval is how often a file of keys is looked at.
const keyInterval = time.Second

// run reads the file, and again whenever it changes.
func (s *keySource) run(ctx context.Context) {
	s.read()
	close(s.first)
	tick := time.NewTicker(keyInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.read()
		}
	}
}

func (s *keySource) read() {
	stamp := s.store.Stamp()
	changed := stamp != s.stamp
	if !changed && stamp.Settled() {
		return
	}
	s.stamp = stamp
	if _, list := s.store.Reload(); len(list) > 0 && changed {
		stays := "there are none"
		if s.store.Loaded() {
			stays = "the old ones stay in force"
		}
		s.warn(fmt.Errorf("the API keys were not loaded, and %s: %w", stays, diag.List(list)))
	}
}

// await waits until the file was read for the first time, or could not be.
func (s *keySource) await(ctx context.Context) {
	select {
	case <-s.first:
	case <-ctx.Done():
	}
}

// missing names the file if it was never read.
func (s *keySource) missing() []string {
	if s.store.Loaded() {
		return nil
	}
	return []string{s.store.File}
}

// headers and queries list the places that can be taken out of a request.
func (k *APIKeys) headers() (out []string) {
	for _, p := range k.From {
		if p.Header != "" {
			out = append(out, p.Header)
		}
	}
	return out
}

func (k *APIKeys) queries() (out []string) {
	for _, p := range k.From {
		if p.Query != "" {
			out = append(out, p.Query)
		}
	}
	return out
}

// fromKey takes the identity from an API key. The answer is the same whatever
// there is against a key.
func (x *exchange) fromKey(s *keySource) (bool, error) {
	key, _, err := x.findToken(s.from)
	if err != nil || key == "" {
		return false, err
	}
	if !s.store.Loaded() {
		x.detail = "api_keys_unavailable"
		return false, &refusal{KeysUnavailable, errors.New("no API keys were loaded")}
	}
	now := x.clock
	if now.IsZero() {
		now = time.Now()
	}
	k := s.store.Find(key, now)
	if k == nil {
		x.detail = "api_key"
		return false, &refusal{BadToken, errors.New("the API key is nobody's")}
	}
	x.req.Principal.ID = k.ID
	x.roles = append(x.roles, k.Roles...)
	if k.Attributes != nil {
		x.principalAttrs.base = k.Attributes
	}
	return true, nil
}

// hasMetadata tells whether the request has a token that jwt_authn has seen, or
// would have if it were asked.
func (x *exchange) hasMetadata(m *metadataSource) bool {
	if x.badToken() {
		return true
	}
	ns, ok := x.in.FilterMetadata(m.Namespace)
	return ok && slices.ContainsFunc(m.Keys, func(key string) bool {
		_, found := ns.Lookup(key)
		return found
	})
}

// oneCredential refuses a request that has both an API key and a token, where
// the route takes either: which of them is meant, nobody can tell.
func (x *exchange) oneCredential() Outcome {
	var key, token bool
	for _, i := range x.route.identity {
		s := &x.rev.sources[i]
		if s.given == nil {
			continue
		}
		found, err := s.given(x)
		if err != nil {
			x.err = err
			return BadRequest
		}
		key, token = key || found && !s.tokens, token || found && s.tokens
	}
	if key && token {
		x.detail = "several_credentials"
		return BadRequest
	}
	return Allowed
}

// takesEither tells whether a route asks both for API keys and for tokens.
func (c *compilation) takesEither(identity []int) bool {
	var keys, tokens bool
	for _, i := range identity {
		if s := &c.sources[i]; s.given != nil {
			keys, tokens = keys || !s.tokens, tokens || s.tokens
		}
	}
	return keys && tokens
}
