package filtertoken

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Options says how tokens are made. Zero values mean the defaults.
type Options struct {
	KeyFile      string        // Ed25519 in PKCS#8 and PEM; empty: a key is made that no other process has
	Lifetime     time.Duration // of a token; DefaultLifetime
	MaxBytes     int           // of a token; DefaultMaxBytes
	Handles      int           // filters that wait to be fetched; DefaultHandles
	HandleBytes  int           // of one of them; DefaultHandleBytes
	WaitingBytes int           // of all of them; DefaultWaitingBytes
}

// The defaults, and the bounds of what options can say. Lifetimes are of whole
// seconds, since claims are.
const (
	DefaultLifetime     = 30 * time.Second
	DefaultMaxBytes     = 4096
	DefaultHandles      = 4096
	DefaultHandleBytes  = 256 << 10
	DefaultWaitingBytes = 64 << 20

	MinLifetime, MaxLifetime         = time.Second, 10 * time.Minute
	MinBytes, MaxBytes               = 1024, 16 << 10
	MaxHandles                       = 1 << 20
	MinHandleBytes, MaxHandleBytes   = 1024, 16 << 20
	MinWaitingBytes, MaxWaitingBytes = 1024, 1 << 30
)

// An Issuer makes tokens. It is safe for concurrent use.
type Issuer struct {
	options Options
	keys    atomic.Pointer[keys]
	handles handles
}

// New makes an Issuer with the key of the file, or with one of its own. The
// error tells why there is no key, or which option is out of bounds.
func New(o Options) (*Issuer, error) {
	o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	i := &Issuer{options: o, handles: newHandles(o.Handles, o.WaitingBytes, o.Lifetime)}
	if o.KeyFile != "" {
		if err := i.Reload(); err != nil {
			return nil, err
		}
		return i, nil
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	i.replace(newSigner(private), time.Now())
	return i, nil
}

func (o *Options) withDefaults() {
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	for _, d := range [...]struct {
		at        *int
		otherwise int
	}{{&o.MaxBytes, DefaultMaxBytes}, {&o.Handles, DefaultHandles}, {&o.HandleBytes, DefaultHandleBytes}, {&o.WaitingBytes, DefaultWaitingBytes}} {
		if *d.at == 0 {
			*d.at = d.otherwise
		}
	}
}

func (o *Options) check() error {
	if o.Lifetime < MinLifetime || o.Lifetime > MaxLifetime || o.Lifetime%time.Second != 0 {
		return fmt.Errorf("the lifetime is a number of seconds from %s to %s, not %s", MinLifetime, MaxLifetime, o.Lifetime)
	}
	for _, b := range [...]struct {
		what           string
		n, least, most int
	}{
		{"the bytes of a token", o.MaxBytes, MinBytes, MaxBytes},
		{"the number of handles", o.Handles, 1, MaxHandles},
		{"the bytes of a filter", o.HandleBytes, MinHandleBytes, MaxHandleBytes},
		{"the bytes of filters that wait", o.WaitingBytes, MinWaitingBytes, MaxWaitingBytes},
	} {
		if b.n < b.least || b.n > b.most {
			return fmt.Errorf("%s: from %d to %d, not %d", b.what, b.least, b.most, b.n)
		}
	}
	return nil
}

// KeyID names the key that signs.
func (i *Issuer) KeyID() string { return i.keys.Load().signer.public.ID }

// interval is how often the file of the key is looked at.
const interval = time.Second

// Run reads the file of the key again whenever it changes, until ctx ends, and
// lets go of filters that nobody fetched. Changed is told of every new key, by
// its name, and of a file that changed and can't be read.
func (i *Issuer) Run(ctx context.Context, changed func(key string, err error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	seen := i.stamp()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i.handles.expire(time.Now())
		if i.options.KeyFile == "" {
			continue
		}
		now := i.stamp()
		moved := now != seen
		if !moved && now.settled() {
			continue
		}
		seen = now
		before := i.KeyID()
		switch err := i.Reload(); {
		case err != nil && moved:
			changed("", err)
		case err == nil && i.KeyID() != before:
			changed(i.KeyID(), nil)
		}
	}
}

// A stamp tells one state of a file from others, as far as the file system says
// it.
type stamp struct {
	modified time.Time
	size     int64
	missing  bool
}

func (i *Issuer) stamp() stamp {
	info, err := os.Stat(i.options.KeyFile)
	if err != nil {
		return stamp{missing: true}
	}
	return stamp{modified: info.ModTime(), size: info.Size()}
}

// clockStep is the coarsest step that a file system's clock takes.
const clockStep = 2 * time.Second

// settled tells whether the file can't change any more without showing it.
func (s stamp) settled() bool { return time.Since(s.modified) > clockStep }
