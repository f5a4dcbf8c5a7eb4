package config

import (
	"edict/engine/yamldoc"
	"edict/extauthz"
)

func apiKeys(n yamldoc.Node) *extauthz.APIKeys {
	k := new(extauthz.APIKeys)
	o, ok := n.Object("from", "file", "pepper")
	if !ok {
		return k
	}
	if n, ok := o.Field("from"); ok {
		list, _ := n.List()
		for _, n := range list {
			p := tokenPlace(n)
			if p.Header == "authorization" {
				n.Report(CodeBadValue, "the header authorization is for tokens", "name another header, like x-api-key")
			}
			k.From = append(k.From, p)
		}
		if len(list) == 0 && n.IsSequence() {
			n.Report(CodeBadValue, "no place is named, so no key would be found", "leave from out to take keys from the header x-api-key")
		}
	}
	o.Required("file")
	field(o, "file", &k.File)
	field(o, "pepper", &k.Pepper)
	return k
}
