package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"edict/api/admin"
	"edict/cmd/edict/internal/config"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// A reloader reads the folders and puts what they hold in force. A set that
// has anything wrong with it is told about and changes nothing.
type reloader struct {
	config   *config.Config
	compiler *extauthz.Compiler
	server   *extauthz.Server
	ready    func(bool)
	log      zerolog.Logger

	policies policyfile.Cache
	routes   folder.Cache
	seen     string // digest of what was last read, good or bad

	store atomic.Pointer[admin.Store] // of what is in force, if the Admin API tells of it
}

func newReloader(c *config.Config, server *extauthz.Server, ready func(bool), log zerolog.Logger) (*reloader, error) {
	compiler, err := extauthz.NewCompiler(c.Engine(), c.Checks)
	if err != nil {
		return nil, err
	}
	return &reloader{config: c, compiler: compiler, server: server, ready: ready, log: log}, nil
}

// errNothing says that there are no policies, or that all routes are gone. They
// may still come: a volume that is mounted late, a checkout.
var errNothing = errors.New("there are no policies, or no routes any more")

// errUnsteady says that the folders change faster than they can be read.
var errUnsteady = errors.New("the folders change while they are read")

// A reading is what both folders held.
type reading struct {
	policies policyfile.Folder
	routes   []folder.File
	absent   bool      // there is no folder of policies
	list     diag.List // what could not be read
	id       string    // digest of all that
}

func (r *reloader) read() reading {
	var in reading
	policies, list := folder.Open(r.config.PoliciesDir)
	if len(list) == 0 {
		in.policies, list = r.policies.ReadFolder(policies, r.config.PoliciesDir)
	}
	in.list = list
	in.absent = len(in.list) > 0 && !exists(r.config.PoliciesDir)
	if r.config.RoutesGiven || exists(r.config.RoutesDir) {
		in.routes, list = r.routes.Read(folder.Data(os.DirFS(r.config.RoutesDir), r.config.RoutesDir, nil))
		in.list = append(in.list, list...)
	}
	in.id = digest(in.list, in.policies.Policies, in.policies.Schemas, in.routes)
	return in
}

// readings is how often the folders are read before they count as unsteady.
const readings = 8

// steady reads until two readings in a row agree. A link that is swapped
// halfway through a reading would otherwise make one set of the old policies
// and the new routes.
func steady(read func() reading) (reading, error) {
	in := read()
	for range readings - 1 {
		again := read()
		if again.id == in.id {
			return again, nil
		}
		in = again
	}
	return in, errUnsteady
}

// reload loads both folders and, if all is well with them, puts them in force.
// The error is errNothing, errUnsteady, or the diag.List of what is wrong; it
// has been logged.
func (r *reloader) reload() (err error) {
	defer func() {
		// No file that anybody writes may end the process.
		if p := recover(); p != nil {
			r.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Bool("oldPoliciesStayInForce", r.inForce()).
				Msg("loading the policies and routes panicked; they were not loaded")
			err = fmt.Errorf("loading panicked: %v", p)
		}
	}()
	began := time.Now()
	in, err := steady(r.read)
	if err != nil {
		// Whoever watches the folders sees that they changed, and calls again.
		r.log.Warn().Err(err).Bool("oldPoliciesStayInForce", r.inForce()).Msg("the policies and routes were not loaded")
		return err
	}
	if in.id == r.seen {
		return nil
	}
	id, list := in.id, in.list
	r.seen = id
	policies, more := r.policies.ParseAll(in.policies.Policies)
	list = append(list, more...)
	routes, more := routemap.ParseAll(in.routes)
	list = append(list, more...)
	if in.absent || len(policies) == 0 && len(list) == 0 {
		r.log.Error().Str("folder", r.config.PoliciesDir).Bool("exists", !in.absent).Bool("oldPoliciesStayInForce", r.inForce()).
			Msg("there are no policies; put some into the folder")
		return errNothing
	}
	var revision *extauthz.Revision
	if len(list) == 0 {
		revision, list = r.compiler.Compile(id, policies, r.schemas(in), routes)
	}
	if len(list) > 0 {
		r.refuse(list.Sorted())
		return list
	}
	if revision.Routes() == 0 && r.inForce() && r.server.Revision().Routes() > 0 {
		r.log.Error().Str("folder", r.config.RoutesDir).Bool("oldPoliciesStayInForce", true).
			Msg("there are no routes any more; put some into the folder")
		return errNothing
	}
	r.server.Use(revision)
	if r.config.AdminAPI {
		r.store.Store(admin.NewStore(r.config.PoliciesDir, policies, in.policies.SchemaContents()))
	}
	r.ready(true)
	r.log.Info().Str("revision", id).Int("policies", revision.Policies()).Int("routes", revision.Routes()).Int("publicRoutes", revision.Public()).
		Stringer("took", time.Since(began).Round(time.Microsecond)).Msg("policies and routes are in force")
	if revision.Routes() == 0 {
		r.log.Warn().Str("folder", r.config.RoutesDir).Msg("there are no routes, so every check is denied")
	}
	return nil
}

// schemas gives the schemas of a reading, or nil where nothing looks at them.
func (r *reloader) schemas(in reading) *schema.Set {
	if r.config.SchemaEnforcement == engine.SchemaNone {
		return nil
	}
	return schema.New(in.policies.SchemaContents())
}

func (r *reloader) inForce() bool { return r.server.Revision() != nil }

// refuse logs why a set is not put in force.
func (r *reloader) refuse(list diag.List) {
	for _, d := range list {
		e := r.log.Error().Str("at", d.Pos.String()).Str("code", string(d.Code))
		if d.Hint != "" {
			e = e.Str("hint", d.Hint)
		}
		if d.Source != "" {
			e = e.Str("source", d.Source)
		}
		for _, rel := range d.Related {
			e = e.Str("related", rel.Pos.String()+": "+rel.Message)
		}
		e.Msg(d.Message)
	}
	r.log.Error().Int("problems", len(list)).Bool("oldPoliciesStayInForce", r.inForce()).
		Msg("the policies and routes were not loaded")
}

func exists(folder string) bool {
	_, err := os.Stat(folder)
	return err == nil
}

// digest names what was read: the files, and what could not be read.
func digest(list diag.List, read ...[]folder.File) string {
	h := sha256.New()
	text := func(s string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	for _, files := range read {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(files))))
		for i := range files {
			text(files[i].Name)
			content := files[i].Digest()
			h.Write(content[:])
		}
	}
	for _, d := range list {
		text(d.Error())
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
