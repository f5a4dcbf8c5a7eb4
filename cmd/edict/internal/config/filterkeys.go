package config

import (
	"fmt"
	"time"

	"edict/engine/yamldoc"
	"edict/extauthz/filtertoken"
)

func setFilterLifetime(c *Config, n yamldoc.Node) {
	d, ok := n.Duration()
	if ok && (d < filtertoken.MinLifetime || d > filtertoken.MaxLifetime || d%time.Second != 0) {
		n.Report(CodeBadValue, fmt.Sprintf("filter.lifetime is a number of whole seconds from %s to %s", filtertoken.MinLifetime, filtertoken.MaxLifetime), "")
		return
	}
	c.Filters.Lifetime = d
}

// filterNumber sets a number of the options that filters are sent by.
func filterNumber(path string, least, most int, at func(*filtertoken.Options) *int) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		i, ok := n.Int()
		if ok && (i < least || i > most) {
			n.Report(CodeBadValue, fmt.Sprintf("%s is a number from %d to %d", path, least, most), "")
			return
		}
		*at(&c.Filters) = i
	}
}
