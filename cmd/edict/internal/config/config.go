package config

import (
	"time"

	"edict/api"
	"edict/api/admin"
	"edict/cmd/edict/internal/listener"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
)

// A Config is everything that `edict serve` can be told.
type Config struct {
	ExtAuthz     string // listen.extAuthz
	ExtAuthzHTTP string // listen.extAuthzHTTP; empty: off
	APIGRPC      string // listen.apiGRPC; empty: off
	APIHTTP      string // listen.apiHTTP; empty: off
	Admin        string // listen.admin

	TLS    tlsOptions
	Socket listener.Socket

	ExtAuthzHTTPOptions extauthz.HTTPOptions
	Limits              extauthz.Limits // InFlight 0: as many as suit the machine

	API    api.Limits
	APIURL string // api.url; empty: as each request says
	CORS   api.CORS

	AdminAPI            bool // api.admin.enabled
	AdminAPICredentials admin.Credentials

	PoliciesDir string
	RoutesDir   string
	RoutesGiven bool // routes.dir was set, so the folder must exist

	ReloadDebounce     time.Duration
	ReloadPoll         time.Duration
	ReloadCertificates time.Duration

	DefaultPolicyVersion string
	DefaultScope         string
	LenientScopeSearch   bool
	StrictEvaluation     bool
	Globals              value.Mapping
	SchemaEnforcement    engine.SchemaEnforcement

	AuxData auxdata.Options // auxData.jwt; Warn, Transport and Now are for the caller

	Checks  extauthz.Options // Filter.Tokens is for the caller, who makes them of Filters
	Filters filtertoken.Options

	// RequireKeys says that Edict is not ready without the keys of every issuer
	// whose tokens it verifies.
	RequireKeys bool

	LogLevel  string
	LogFormat string

	ShutdownDelay   time.Duration
	ShutdownTimeout time.Duration

	// Warnings are about settings that are taken and still deserve a word: one
	// that has no effect, one that weakens what others rely on.
	Warnings diag.List
}

// Engine gives the options of the engine that the configuration asks for.
func (c *Config) Engine() engine.Options {
	return engine.Options{
		DefaultPolicyVersion: c.DefaultPolicyVersion,
		DefaultScope:         c.DefaultScope,
		LenientScopeSearch:   c.LenientScopeSearch,
		LenientEvaluation:    !c.StrictEvaluation,
		Globals:              c.Globals,
		SchemaEnforcement:    c.SchemaEnforcement,
	}
}

// LoadEngine is Load for a command that decides without serving: it gives the
// options of the engine alone. They are of use only if the list is empty.
func LoadEngine(file string, environ, sets []string) (engine.Options, diag.List) {
	c, _, list := Load(file, environ, sets)
	return c.Engine(), list
}
