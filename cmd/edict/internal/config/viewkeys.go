package config

import (
	"fmt"
	"os"

	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/grpcbody"
)

func setAccept(c *Config, n yamldoc.Node) {
	list, names, ok := textList(n)
	if !ok {
		return
	}
	accept, bad, message, hint := extauthz.AcceptedSpellings(names)
	if bad >= 0 {
		list[bad].Report(CodeBadValue, message, hint)
		return
	}
	c.Checks.Accept = accept
}

func setIgnores(c *Config, n yamldoc.Node) {
	list, names, ok := textList(n)
	if !ok {
		return
	}
	if bad, message, hint := extauthz.IgnoredOverrides(names); bad >= 0 {
		list[bad].Report(CodeBadValue, message, hint)
		return
	}
	c.Checks.Ignored = names
}

// textList reads a list of texts, none of them empty.
func textList(n yamldoc.Node) (list []yamldoc.Node, texts []string, ok bool) {
	if list, ok = n.List(); !ok {
		return nil, nil, false
	}
	for _, n := range list {
		t, ok := n.NonEmptyText()
		if !ok {
			return nil, nil, false
		}
		texts = append(texts, t.Value)
	}
	return list, texts, true
}

func setProtoDescriptors(c *Config, n yamldoc.Node) {
	list, _ := n.List()
	var sets [][]byte
	for _, n := range list {
		t, ok := n.NonEmptyText()
		if !ok {
			return
		}
		b, err := os.ReadFile(t.Value)
		if err == nil {
			_, err = grpcbody.Load(append(sets[:len(sets):len(sets)], b)...)
		}
		if err != nil {
			n.Report(CodeBadValue, fmt.Sprintf("the descriptor set %s can't be used: %v", t.Value, err), "")
			return
		}
		sets = append(sets, b)
	}
	c.Checks.Descriptors = nil
	if len(sets) > 0 {
		c.Checks.Descriptors, _ = grpcbody.Load(sets...) // which succeeded just now
	}
}
