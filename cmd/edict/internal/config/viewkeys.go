package config

import (
	"edict/engine/yamldoc"
	"edict/extauthz"
)

func setAccept(c *Config, n yamldoc.Node) {
	list, ok := n.List()
	if !ok {
		return
	}
	var names []string
	for _, n := range list {
		t, ok := n.NonEmptyText()
		if !ok {
			return
		}
		names = append(names, t.Value)
	}
	accept, bad, message, hint := extauthz.AcceptedSpellings(names)
	if bad >= 0 {
		list[bad].Report(CodeBadValue, message, hint)
		return
	}
	c.Checks.Accept = accept
}
