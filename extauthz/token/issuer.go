package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edict/engine/keyset"
)

// MaxClockSkew is the most that the clock of an issuer may be off.
const MaxClockSkew = time.Minute

// defaultTypes are the values of the header typ that an issuer's tokens may
// have if it does not say: it may also be missing. Tokens that are for something
// else, such as logout+jwt, say so there.
var defaultTypes = []string{"", "jwt", "at+jwt"}

// An Issuer is one whose tokens are believed.
type Issuer struct {
	// Issuer is the claim iss, exactly.
	Issuer string

	// Audiences are who tokens may be for: one of them has to be among the
	// token's.
	Audiences []string

	// AudienceClaim is where the token names its audience, a text or a list of
	// texts. Empty: aud.
	AudienceClaim string

	// Keys is where the issuer's public keys are.
	Keys Keys

	// Algorithms are those that tokens may be signed with. Empty: all of
	// Algorithms().
	Algorithms []string

	// Types are what the header typ may be, in any case and with or without
	// application/ in front. Empty: JWT, at+jwt, or nothing.
	Types []string

	// Require names claims, texts, and the values that each may have.
	Require map[string][]string

	// ClockSkew is how far the issuer's clock may be off, at most MaxClockSkew.
	ClockSkew time.Duration

	// MaxLifetime is the longest time from iat, or without it from now, to exp.
	// Zero: any.
	MaxLifetime time.Duration

	// AllowNoExpiry admits tokens without exp, which are good for ever.
	AllowNoExpiry bool
}

// Keys says where the keys of an issuer are. Exactly one of URL, Discovery, File
// and Inline is set.
type Keys struct {
	URL       string // of a JWK set
	Discovery bool   // where the issuer's discovery document says
	File      string // a JWK set or PEM, read again every ten seconds
	Inline    string // a JWK set or PEM

	// The others are for URL and Discovery.
	Refresh   time.Duration // how often they are fetched; zero: as the server says
	MaxStale  time.Duration // see keyset.Remote; zero: for ever
	Hosts     []string      // see keyset.Remote
	AllowHTTP bool          // without encryption, so that whoever is on the way can forge tokens
}

// Validate tells what is wrong with an issuer, as far as that can be told
// without the file system and the network.
func (i *Issuer) Validate() error {
	switch {
	case i.Issuer == "":
		return errors.New("issuer is missing")
	case len(i.Audiences) == 0:
		return errors.New("audiences is empty: name whom the tokens are for, so that tokens for others are refused")
	case slices.Contains(i.Audiences, ""):
		return errors.New("an audience is empty")
	case i.ClockSkew < 0 || i.ClockSkew > MaxClockSkew:
		return fmt.Errorf("clockSkew must be from 0s to %s", MaxClockSkew)
	case i.MaxLifetime < 0:
		return errors.New("maxLifetime can't be negative")
	case i.MaxLifetime > 0 && i.AllowNoExpiry:
		return errors.New("maxLifetime and allowNoExpiry contradict each other")
	}
	for _, name := range i.Algorithms {
		if _, ok := algorithmNamed(name); !ok {
			return fmt.Errorf("there is no algorithm %q here; there are %s", name, strings.Join(Algorithms(), ", "))
		}
	}
	return i.Keys.validate(i.Issuer)
}

func (k *Keys) validate(issuer string) error {
	given := 0
	for _, set := range []bool{k.URL != "", k.Discovery, k.File != "", k.Inline != ""} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("keys needs exactly one of url, discovery, file and inline")
	case k.Inline != "":
		_, err := parseKeys([]byte(k.Inline))
		return err
	case k.File != "":
		return nil
	}
	r := k.remote(issuer)
	if err := r.Validate(); err != nil {
		return err
	}
	const https = "https:"
	if !k.AllowHTTP && !strings.EqualFold(r.URL[:min(len(r.URL), len(https))], https) {
		return fmt.Errorf("%q is not https, so that whoever is on the way could forge tokens; allowHTTP: true admits it", r.URL)
	}
	return nil
}

func (k *Keys) remote(issuer string) *keyset.Remote {
	r := &keyset.Remote{URL: k.URL, RefreshInterval: k.Refresh, MaxStale: k.MaxStale, Hosts: k.Hosts}
	if k.Discovery {
		// OpenID Connect Discovery 1.0 §4: behind the issuer, without its last
		// slash.
		r.URL, r.Issuer = strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", issuer
	}
	return r
}

func (k *Keys) location(issuer string) keyset.Location {
	switch {
	case k.Inline != "":
		return keyset.Location{Data: []byte(k.Inline)}
	case k.File != "":
		return keyset.Location{File: k.File}
	}
	return keyset.Location{Remote: k.remote(issuer)}
}
