package extauthz

import "slices"

// Respond says what answers tell beside the decision.
type Respond struct {
	// DecisionHeader tells the client the id of the decision, on every response.
	// Empty means that the header is not sent.
	DecisionHeader string

	// MetadataKeys are the keys of dynamic metadata that Envoy is sent; nil means
	// DefaultMetadataKeys. MetadataPrefix stands before each, so that two
	// ext_authz filters in one chain do not overwrite each other's.
	MetadataKeys   []string
	MetadataPrefix string
}

func (r *Respond) withDefaults() {
	if r.MetadataKeys == nil {
		r.MetadataKeys = slices.Clone(DefaultMetadataKeys)
	}
}
