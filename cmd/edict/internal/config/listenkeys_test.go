package config

import (
	"slices"
	"strings"
	"testing"
)

func TestListenKeysThatAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"listen.tls.extAuthz={cert: c}":                                               "key is required",
		"listen.tls.extAuthz={key: k}":                                                "cert is required",
		"listen.tls.extAuthz={cert: c, key: k, ca: a}":                                `unknown field "ca"`,
		"listen.tls.extAuthz={cert: c, key: k, clients: [a.example]}":                 "set clientCA too",
		"listen.tls.admin={cert: c, key: k, clientCA: a, clients: ['*.example']}":     "neither a SPIFFE id",
		"listen.tls.admin={cert: c, key: k, clientCA: a, clients: ['spiffe://a//b']}": "is not a SPIFFE id",
		"listen.tls.extAuthz={cert: c, key: k, minVersion: 1.1}":                      "1.2 and 1.3",
		"listen.tls.extAuthz={cert: c, key: k, minVersion: TLSv1_2}":                  "1.2 and 1.3",
		"listen.tls.extAuthz.cert=c":                                                  "is set as a whole",
		"filter.lifetime=1500ms":                                                      "whole seconds",
		"filter.lifetime=0s":                                                          "whole seconds",
		"filter.lifetime=1h":                                                          "whole seconds",
		"filter.maxBytes=512":                                                         "from 1024 to 16384",
		"filter.handles=0":                                                            "from 1 to 1048576",
		"filter.handleBytes=1":                                                        "from 1024 to",
		"filter.waitingBytes=1023":                                                    "from 1024 to",
		"filter.header=X-Filter":                                                      "not in lower case",
		"listen.extAuthzHTTP=9003":                                                    "not an address",
		"listen.socket.mode=0660":                                                     "expected a string",
		"listen.socket.mode='1660'":                                                   "not the mode",
		"listen.socket.mode='06'":                                                     "not the mode",
		"listen.socket.mode='0668'":                                                   "not the mode",
		"listen.socket.uids=[-1]":                                                     "not the number of a user",
		"listen.socket.uids=[envoy]":                                                  "expected an integer",
		"extAuthzHTTP.pathPrefix=v1":                                                  "does not begin with a slash",
		"limits.inFlight=-1":                                                          "can't be negative",
		"api.inFlight=-1":                                                             "can't be negative",
		"limits.messageBytes=0":                                                       "a number from 1024",
		"limits.messageBytes=67108864":                                                "a number from 1024",
		"limits.time=0s":                                                              "at least 1ms",
		"reload.certificates=0s":                                                      "at least 1ms",
	} {
		_, _, list := Load("", nil, []string{set})
		if len(list) != 1 || !strings.Contains(list[0].Error(), want) {
			t.Errorf("%s: got %v, want %s", set, list, want)
		}
	}
}

// A listener that other machines reach, and that believes whoever comes, is
// warned of in the light of all settings, wherever they stand.
func TestListenersThatAreWarnedOf(t *testing.T) {
	const (
		plain    = "takes checks from other machines in plain text"
		anybody  = "takes checks from clients without a certificate"
		sockets  = "every process on the machine may use the sockets"
		tls      = "listen.tls.extAuthz={cert: c, key: k}"
		mutual   = "listen.tls.extAuthz={cert: c, key: k, clientCA: a}"
		httpTLS  = "listen.tls.extAuthzHTTP={cert: c, key: k}"
		everyone = "listen.extAuthz=0.0.0.0:9001"
	)
	for _, tt := range []struct {
		sets []string
		want string
	}{
		{nil, ""},
		{[]string{"listen.extAuthz=127.0.0.2:9001"}, ""},
		{[]string{"listen.extAuthz=unix:/run/x.sock"}, ""},
		{[]string{"listen.admin=:9002"}, ""}, // probes of other machines ask there
		{[]string{everyone}, plain},
		{[]string{everyone, "listen.extAuthz=127.0.0.1:9001"}, ""},
		{[]string{everyone, tls}, anybody},
		{[]string{tls, everyone}, anybody},
		{[]string{mutual, everyone}, ""},
		{[]string{everyone, mutual}, ""},
		{[]string{everyone, mutual, "listen.tls.extAuthz={}"}, plain},
		{[]string{"listen.extAuthzHTTP=:9003"}, plain},
		{[]string{"listen.extAuthzHTTP=:9003", mutual}, plain},
		{[]string{"listen.extAuthzHTTP=:9003", httpTLS}, anybody},
		{[]string{"listen.extAuthzHTTP="}, ""},
		{[]string{"listen.socket.mode='0666'"}, sockets},
		{[]string{"listen.socket.mode='0666'", "listen.socket.uids=[101]"}, ""},
	} {
		c, _, list := Load("", nil, tt.sets)
		if len(list) > 0 {
			t.Errorf("%q: %v", tt.sets, list)
			continue
		}
		var got []string
		for _, w := range c.Warnings {
			got = append(got, string(w.Code)+": "+w.Message)
		}
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !slices.ContainsFunc(got, func(s string) bool {
			return strings.HasPrefix(s, "config-insecure: ") && strings.Contains(s, tt.want)
		})) {
			t.Errorf("%q: got %q, want %q", tt.sets, got, tt.want)
		}
	}
}
