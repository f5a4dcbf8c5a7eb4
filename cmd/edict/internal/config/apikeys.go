package config

import (
	"fmt"

	"edict/engine/yamldoc"
	"edict/extauthz"
)

func apiKeys(n yamldoc.Node) *extauthz.APIKeys {
	k := new(extauthz.APIKeys)
	fields := []string{"from", "file", "pepper"}
	for _, place := range []string{"header", "cookie", "query"} {
		if key, ok := n.Key(place); ok { // a place of from, where that has been forgotten
			key.Report(yamldoc.UnknownField, fmt.Sprintf("unknown field %q", place), fmt.Sprintf("write from: [{%s: …}]", place))
			fields = append(fields, place)
		}
	}
	o, ok := n.Object(fields...)
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
