package extauthz

import (
	"edict/engine/value"
)

// AssumedNamespace is the namespace of dynamic metadata in which, with
// Options.Assume, the claims of a token stand that Edict would have verified:
// under the name of the source.
const AssumedNamespace = "edict.assumed"

// assuming gives a source of tokens that takes claims from AssumedNamespace as
// if it had verified them, and is the source itself without them.
func (j *JWT) assuming(name string, s *tokenSource) func(x *exchange) (bool, error) {
	return func(x *exchange) (bool, error) {
		assumed, _ := x.in.FilterMetadata(AssumedNamespace)
		if assumed == nil {
			return x.fromToken(s)
		}
		found, _ := assumed.Lookup(name)
		if found.Kind() != value.Map {
			return x.fromToken(s)
		}
		iss, _ := found.Mapping().Lookup("iss")
		mapper := s.mappers[0]
		for i := range j.Issuers {
			if iss.Kind() == value.String && iss.Str() == j.Issuers[i].Issuer.Issuer {
				mapper = s.mappers[i]
			}
		}
		return x.fromClaims(mapper, found.Mapping())
	}
}
