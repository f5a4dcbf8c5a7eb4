package apikey

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// APIVersion is the only apiVersion there is.
const APIVersion = "edict.dev/v1"

// The diagnostics that a file of keys can give, beside those of yamldoc.
const (
	// BadFile is for an apiVersion other than APIVersion, and for a file without
	// keys.
	BadFile diag.Code = "apikeys-file"

	// BadHash is for a hash that is none, or that is there twice.
	BadHash diag.Code = "apikeys-hash"

	// BadExpiry is for an instant that is none.
	BadExpiry diag.Code = "apikeys-expiry"
)

// A Key is what is known of an API key.
type Key struct {
	ID         string // of the principal; several keys may be of one
	Roles      []string
	Attributes value.Values
	Expires    time.Time // zero: never
	Disabled   bool
}

// A digest is the SHA-256, or HMAC-SHA-256, of a key.
type digest [32]byte

// Parse reads a file of keys. With a pepper hashes are HMACs.
func parse(file string, content []byte, peppered bool) (map[digest]*Key, diag.List) {
	doc := yamldoc.Parse(file, content)
	keys := map[digest]*Key{}
	if root, ok := doc.Root(); ok {
		readFile(root, peppered, keys)
	} else if len(doc.Diagnostics()) == 0 {
		return nil, diag.List{{Pos: diag.Position{File: file, Line: 1, Column: 1}, Code: BadFile,
			Message: "the file of API keys is empty", Hint: "write apiKeys: [] if there are to be none"}}
	}
	if list := doc.Diagnostics(); len(list) > 0 {
		for i := range list {
			list[i].Source = "" // no hash gets into a log
		}
		return nil, list
	}
	return keys, nil
}

func readFile(root yamldoc.Node, peppered bool, into map[digest]*Key) {
	o, ok := root.Object("apiVersion", "description", "apiKeys", "$schema")
	if !ok {
		return
	}
	if n, ok := o.Required("apiVersion"); ok {
		if t, ok := n.Text(); ok && t.Value != APIVersion {
			n.Report(BadFile, fmt.Sprintf("the apiVersion of a file of API keys is %s, not %q", APIVersion, t.Value), "write apiVersion: "+APIVersion)
		}
	}
	for _, name := range []string{"description", "$schema"} {
		if n, ok := o.Field(name); ok {
			n.Text()
		}
	}
	n, ok := o.Required("apiKeys")
	if !ok {
		return
	}
	list, _ := n.List()
	places := map[digest]diag.Position{}
	for _, n := range list {
		o, ok := n.Object("id", "hash", "roles", "attributes", "expires", "disabled", "description")
		if !ok {
			continue
		}
		k, d, ok := readKey(o, peppered)
		if !ok {
			continue
		}
		if first, repeated := places[d]; repeated {
			n.ReportRelated(BadHash, "there are two keys with this hash", "remove one", diag.Related{Pos: first, Message: "the first one"})
		}
		places[d], into[d] = n.Pos(), k
	}
}

func readKey(o yamldoc.Object, peppered bool) (k *Key, d digest, ok bool) {
	k = new(Key)
	if n, given := o.Required("id"); given {
		t, _ := n.NonEmptyText()
		k.ID = t.Value
	}
	if n, given := o.Field("roles"); given {
		list, _ := n.Texts()
		for _, t := range list {
			k.Roles = append(k.Roles, t.Value)
		}
	}
	if n, given := o.Field("attributes"); given {
		entries, _ := n.Entries()
		k.Attributes = make(value.Values, len(entries))
		for _, e := range entries {
			if v, sound := e.Value.Value(); sound {
				k.Attributes[e.Key.Value] = v
			}
		}
	}
	if n, given := o.Field("expires"); given {
		if t, sound := n.Text(); sound {
			var err error
			if k.Expires, err = time.Parse(time.RFC3339, t.Value); err != nil {
				n.Report(BadExpiry, fmt.Sprintf("%q is not an instant", t.Value), "write it as in 2027-01-31T00:00:00Z")
			}
		}
	}
	if n, given := o.Field("disabled"); given {
		k.Disabled, _ = n.Bool()
	}
	if n, given := o.Field("description"); given {
		n.Text()
	}
	n, given := o.Required("hash")
	if !given {
		return k, d, false
	}
	t, sound := n.NonEmptyText()
	if !sound {
		return k, d, false
	}
	scheme, how := "sha256:", "sha256 of the key"
	if peppered {
		scheme, how = "hmac-sha256:", "HMAC-SHA-256 of the key with the pepper"
	}
	text, rightScheme := strings.CutPrefix(t.Value, scheme)
	if n, err := hex.Decode(d[:], []byte(text[:min(len(text), 64)])); !rightScheme || err != nil || n != len(d) || len(text) != 64 {
		o.Node().Document().Report(t.Pos, BadHash, fmt.Sprintf("this is not a hash of the form %s<64 hex digits>", scheme), "write the "+how)
		return k, d, false
	}
	return k, d, true
}
