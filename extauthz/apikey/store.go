package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"edict/engine/diag"
)

// The bounds of keys, in bytes. A key of fewer than MinLength could be guessed.
const (
	MinLength = 16
	MaxLength = 512

	maxFile = 16 << 20
)

// An index finds keys by the beginning of their hashes.
type index map[uint64][]entry

type entry struct {
	digest digest
	key    *Key
}

func (d digest) bucket() uint64 { return binary.BigEndian.Uint64(d[:]) }

// A Store holds the keys of a file. It has none until Reload has read some. It
// is safe for concurrent use.
type Store struct {
	File   string
	Pepper string // secret that hashes are made with, too; may be empty

	keys atomic.Pointer[index] // nil: nothing was read
}

// Reload reads the file and, if all is well with it, puts its keys in force.
// Otherwise they stay as they are. It gives the number of keys in the file.
func (s *Store) Reload() (int, diag.List) {
	info, err := os.Stat(s.File)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("the file has more than %d bytes", maxFile)
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(s.File)
	}
	if err != nil {
		return 0, diag.List{{Pos: diag.Position{File: s.File}, Code: BadFile, Message: fmt.Sprintf("the API keys can't be read: %v", err)}}
	}
	keys, list := parse(s.File, content, s.Pepper != "")
	if len(list) > 0 {
		return 0, list
	}
	by := index{}
	for d, k := range keys {
		by[d.bucket()] = append(by[d.bucket()], entry{d, k})
	}
	s.keys.Store(&by)
	return len(keys), nil
}

// Loaded tells whether some file was read.
func (s *Store) Loaded() bool { return s.keys.Load() != nil }

// Find gives what is known of a key that is good at an instant; nil if there is
// nothing, for whatever reason.
func (s *Store) Find(key string, now time.Time) *Key {
	keys := s.keys.Load()
	if keys == nil || len(key) < MinLength || len(key) > MaxLength {
		return nil
	}
	d := s.digest(key)
	var found *Key
	for _, e := range (*keys)[d.bucket()] {
		if subtle.ConstantTimeCompare(e.digest[:], d[:]) == 1 {
			found = e.key
		}
	}
	if found == nil || found.Disabled || !found.Expires.IsZero() && !now.Before(found.Expires) {
		return nil
	}
	return found
}

func (s *Store) digest(key string) (d digest) {
	if s.Pepper == "" {
		return sha256.Sum256([]byte(key))
	}
	mac := hmac.New(sha256.New, []byte(s.Pepper))
	mac.Write([]byte(key))
	mac.Sum(d[:0])
	return d
}

// A Stamp tells one state of a file from others, as far as the file system says
// it.
type Stamp struct {
	modified time.Time
	size     int64
	missing  bool
}

// Stamp gives that of the file as it is.
func (s *Store) Stamp() Stamp {
	info, err := os.Stat(s.File)
	if err != nil {
		return Stamp{missing: true}
	}
	return Stamp{modified: info.ModTime(), size: info.Size()}
}

// clockStep is the coarsest step that a file system's clock takes.
const clockStep = 2 * time.Second

// Settled tells whether the file can't change any more without showing it.
func (s Stamp) Settled() bool { return time.Since(s.modified) > clockStep }
