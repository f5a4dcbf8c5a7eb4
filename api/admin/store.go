package admin

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"edict/engine/policy"
)

// A Store is what the policies in force were made of. It does not change.
type Store struct {
	policies []stored // in the order of their ids
	schemas  map[string][]byte
}

// A stored policy has an id, which is its path in the folder, as in Cerbos' stores
// of files.
type stored struct {
	*policy.Policy
	id string
}

// NewStore gives a store of policies, which were read under the name of a folder,
// and of schemas by their paths.
func NewStore(folder string, policies []*policy.Policy, schemas map[string][]byte) *Store {
	s := &Store{policies: make([]stored, len(policies)), schemas: schemas}
	// The names of files are clean: those of ./policies begin with policies/.
	folder = strings.TrimSuffix(path.Clean(filepath.ToSlash(folder)), "/") + "/"
	for i, p := range policies {
		s.policies[i] = stored{p, strings.TrimPrefix(p.Pos.File, folder)}
	}
	slices.SortFunc(s.policies, func(a, b stored) int { return strings.Compare(a.id, b.id) })
	return s
}
