package config

import (
	"time"

	"edict/engine/value"
	"edict/extauthz"
)

// A Config is everything that `edict serve` can be told.
type Config struct {
	ExtAuthz string // listen.extAuthz
	Admin    string // listen.admin

	PoliciesDir string
	RoutesDir   string
	RoutesGiven bool // routes.dir was set, so the folder must exist

	ReloadDebounce time.Duration
	ReloadPoll     time.Duration

	DefaultPolicyVersion string
	StrictEvaluation     bool
	Globals              value.Mapping

	Checks extauthz.Options

	LogLevel  string
	LogFormat string

	ShutdownDelay   time.Duration
	ShutdownTimeout time.Duration
}
