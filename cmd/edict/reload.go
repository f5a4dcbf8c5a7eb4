package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"time"

	"github.com/rs/zerolog"

	"edict/cmd/edict/internal/config"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
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

	seen      string // digest of what was last read, good or bad
	hadRoutes bool   // the folder of route maps has been there
}

func newReloader(c *config.Config, server *extauthz.Server, ready func(bool), log zerolog.Logger) (*reloader, error) {
	compiler, err := extauthz.NewCompiler(engine.Options{
		DefaultPolicyVersion: c.DefaultPolicyVersion,
		LenientEvaluation:    !c.StrictEvaluation,
		Globals:              c.Globals,
	}, c.Checks)
	if err != nil {
		return nil, err
	}
	return &reloader{config: c, compiler: compiler, server: server, ready: ready, log: log}, nil
}

// errNothing says that there are no policies. They may still come: a volume
// that is mounted late, a first checkout.
var errNothing = errors.New("there are no policies")

// reload loads both folders and, if all is well with them, puts them in force.
// The error is errNothing, or the diag.List of what is wrong; it has been
// logged.
func (r *reloader) reload() error {
	began := time.Now()
	policyFiles, list := folder.Read(os.DirFS(r.config.PoliciesDir), r.config.PoliciesDir, policyfile.Skip)
	var routeFiles []folder.File
	if r.config.RoutesGiven || r.hadRoutes || exists(r.config.RoutesDir) {
		var more diag.List
		routeFiles, more = folder.Read(os.DirFS(r.config.RoutesDir), r.config.RoutesDir, nil)
		list = append(list, more...)
		r.hadRoutes = r.hadRoutes || len(more) == 0
	}
	id := digest(policyFiles, routeFiles, list)
	if id == r.seen {
		return nil
	}
	r.seen = id
	policies, more := policyfile.ParseAll(policyFiles)
	list = append(list, more...)
	routes, more := routemap.ParseAll(routeFiles)
	list = append(list, more...)
	absent := !exists(r.config.PoliciesDir)
	if absent || len(policies) == 0 && len(list) == 0 {
		r.log.Error().Str("folder", r.config.PoliciesDir).Bool("exists", !absent).Bool("oldPoliciesStayInForce", r.inForce()).
			Msg("there are no policies; put some into the folder")
		return errNothing
	}
	var revision *extauthz.Revision
	if len(list) == 0 {
		revision, list = r.compiler.Compile(id, policies, routes)
	}
	if len(list) > 0 {
		r.refuse(list.Sorted())
		return list
	}
	r.server.Use(revision)
	r.ready(true)
	r.log.Info().Str("revision", id).Int("policies", revision.Policies()).Int("routes", revision.Routes()).
		Dur("took", time.Since(began)).Msg("policies and routes are in force")
	if revision.Routes() == 0 {
		r.log.Warn().Str("folder", r.config.RoutesDir).Msg("there are no routes, so every check is denied")
	}
	return nil
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

// digest names what was read: the files of both folders, and what could not be
// read.
func digest(policies, routes []folder.File, list diag.List) string {
	h := sha256.New()
	text := func(s []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write(s)
	}
	for _, files := range [][]folder.File{policies, routes} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(files))))
		for _, f := range files {
			text([]byte(f.Name))
			text(f.Content)
		}
	}
	for _, d := range list {
		text([]byte(d.Error()))
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
