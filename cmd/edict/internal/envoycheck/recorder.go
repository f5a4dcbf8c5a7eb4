package envoycheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/value"
	"edict/extauthz"
)

// RecorderOptions say what a Recorder writes.
type RecorderOptions struct {
	Redactor Redactor
	Max      int      // files; when so many are written, no more are
	Every    int      // of every so many checks one is written; 0: of each
	Outcomes []string // labels of outcomes; empty: all
	Routes   []string // full names, or routeMap/*; empty: all

	// Failed is told, in the background, what could not be written.
	Failed func(error)
}

// A Recorder writes checks to files of a folder, one each, in the background.
// It never holds up an answer: what it has no time for it drops, and counts.
type Recorder struct {
	dir     string
	options RecorderOptions
	started string

	seen, written, dropped atomic.Int64

	queue chan *taken
	done  chan struct{}
	close sync.Once
}

// A taken check waits to be written.
type taken struct {
	check    []byte
	outcome  extauthz.Outcome
	route    string
	revision string
	at       time.Time

	verified   map[string]any // claims of a token that Edict verified
	verifiedBy string         // name of the source
}

// The bounds of what waits to be written.
const (
	queueLength   = 256
	maxCheckBytes = 1 << 20
)

// NewRecorder makes a Recorder that writes to a folder, which it makes if it
// is missing. Close ends it.
func NewRecorder(dir string, o RecorderOptions) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("the folder can't be written to: %w", err)
	}
	err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	r := &Recorder{
		dir: dir, options: o, started: time.Now().UTC().Format("20060102T150405Z"),
		queue: make(chan *taken, queueLength), done: make(chan struct{}),
	}
	go r.run()
	return r, err
}

// Observe takes a finished check; see extauthz.Options.
func (r *Recorder) Observe(rec *extauthz.Record) {
	if len(rec.Check) == 0 || len(rec.Check) > maxCheckBytes || !r.wants(rec) {
		return
	}
	n := r.seen.Add(1)
	if r.options.Every > 1 && n%int64(r.options.Every) != 1 {
		return
	}
	t := &taken{check: slices.Clone(rec.Check), outcome: rec.Outcome, route: strings.Clone(rec.Route), revision: rec.Revision, at: time.Now()}
	if rec.Verified != nil {
		t.verified, _ = value.OfMapping(rec.Verified).Native().(map[string]any)
		t.verifiedBy = rec.VerifiedBy
	}
	select {
	case r.queue <- t:
	default:
		r.dropped.Add(1)
	}
}

func (r *Recorder) wants(rec *extauthz.Record) bool {
	if o := r.options.Outcomes; len(o) > 0 && !slices.Contains(o, rec.Outcome.String()) {
		return false
	}
	if len(r.options.Routes) == 0 {
		return true
	}
	return slices.ContainsFunc(r.options.Routes, func(want string) bool {
		prefix, all := strings.CutSuffix(want, "*")
		return rec.Route == want || all && strings.HasPrefix(rec.Route, prefix)
	})
}

func (r *Recorder) run() {
	defer close(r.done)
	for t := range r.queue {
		if r.options.Max > 0 && r.written.Load() >= int64(r.options.Max) {
			r.dropped.Add(1)
			continue
		}
		if err := r.write(t); err != nil {
			r.dropped.Add(1)
			if r.options.Failed != nil {
				r.options.Failed(err)
			}
			continue
		}
		r.written.Add(1)
	}
}

func (r *Recorder) write(t *taken) error {
	in := new(authv3.CheckRequest)
	if err := proto.Unmarshal(t.check, in); err != nil {
		return err
	}
	if t.verified != nil {
		// The token goes; what it said stays, so that the check can be replayed.
		if err := assume(in, t.verifiedBy, t.verified); err != nil {
			return err
		}
	}
	request, redacted := r.options.Redactor.Redact(in)
	record := Record{At: t.at.UTC().Truncate(time.Millisecond), Request: request, Redacted: redacted, Outcome: t.outcome.String(), Route: t.route, Revision: t.revision}
	content, err := record.Write()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%06d-%s.json", r.started, r.written.Load()+1, record.Outcome)
	return os.WriteFile(filepath.Join(r.dir, name), content, 0o600)
}

// assume gives a check the claims of a token that Edict verified, for a replay
// without the token.
func assume(in *authv3.CheckRequest, source string, claims map[string]any) error {
	s, err := structpb.NewStruct(map[string]any{source: plain(claims)})
	if err != nil {
		return err
	}
	at := in.Attributes
	if at.MetadataContext == nil {
		at.MetadataContext = new(corev3.Metadata)
	}
	if at.MetadataContext.FilterMetadata == nil {
		at.MetadataContext.FilterMetadata = map[string]*structpb.Struct{}
	}
	at.MetadataContext.FilterMetadata[extauthz.AssumedNamespace] = s
	return nil
}

// plain gives a value as JSON has it, which is what a Struct can hold.
func plain(v any) (out any) {
	b, err := json.Marshal(v)
	if err != nil || json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}

// Close waits until what was taken is written, and gives the numbers of checks
// that were written and that were not. Nothing may be observed after it.
func (r *Recorder) Close() (written, dropped int64) {
	r.close.Do(func() { close(r.queue) })
	<-r.done
	return r.written.Load(), r.dropped.Load()
}
