package filtertoken

import (
	"bytes"
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// A handle names a filter that is kept: random bits that whoever has them may
// fetch it by.
type handle [32]byte

func newHandle() (h handle) {
	_, _ = rand.Read(h[:]) // it ends the process rather than fail
	return h
}

// String gives the handle in base64url, 43 letters.
func (h *handle) String() string { return encoding.EncodeToString(h[:]) }

// parseHandle reads what String gives, and nothing else.
func parseHandle(s string) (h handle, ok bool) {
	b, err := encoding.DecodeString(s)
	return h, err == nil && copy(h[:], b) == len(h) && len(b) == len(h)
}

// handles are the filters that wait to be fetched, by the hashes of their
// handles. All wait for the same time, so that their order is that in which
// they expire.
type handles struct {
	most      int
	mostBytes int
	wait      time.Duration

	mu     sync.Mutex
	bytes  int
	by     map[[sha256.Size]byte]*list.Element
	oldest list.List // of waiting
}

type waiting struct {
	hash   [sha256.Size]byte
	filter []byte
	until  time.Time
}

func newHandles(most, mostBytes int, wait time.Duration) handles {
	return handles{most: most, mostBytes: mostBytes, wait: wait, by: map[[sha256.Size]byte]*list.Element{}}
}

// put keeps a copy of a filter, and tells whether there was room.
func (s *handles) put(h handle, filter []byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
	if len(s.by) >= s.most || len(filter) > s.mostBytes-s.bytes {
		return false
	}
	w := waiting{sha256.Sum256(h[:]), bytes.Clone(filter), now.Add(s.wait)}
	s.by[w.hash] = s.oldest.PushBack(w)
	s.bytes += len(filter)
	return true
}

// take gives a filter and forgets it.
func (s *handles) take(h handle, now time.Time) ([]byte, bool) {
	hash := sha256.Sum256(h[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
	e, ok := s.by[hash]
	if !ok {
		return nil, false
	}
	return s.drop(e).filter, true
}

// expire forgets what nobody fetched in time.
func (s *handles) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
}

func (s *handles) prune(now time.Time) {
	for e := s.oldest.Front(); e != nil && !now.Before(e.Value.(waiting).until); e = s.oldest.Front() {
		s.drop(e)
	}
}

func (s *handles) drop(e *list.Element) waiting {
	w := s.oldest.Remove(e).(waiting)
	delete(s.by, w.hash)
	s.bytes -= len(w.filter)
	return w
}
