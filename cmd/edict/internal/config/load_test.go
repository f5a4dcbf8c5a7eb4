package config

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edict/api"
	"edict/api/admin"
	"edict/cmd/edict/internal/listener"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/diag/diagtest"
	"edict/engine/value"
	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/claims"
	"edict/extauthz/filtertoken"
	"edict/extauthz/routemap"
	"edict/extauthz/target"
)

// defaults is what no configuration is.
func defaults() Config {
	return Config{
		ExtAuthz: "127.0.0.1:9001", Admin: "127.0.0.1:9002",
		APIGRPC: "127.0.0.1:3593", APIHTTP: "127.0.0.1:3592",
		API:         api.Limits{Actions: 50, Resources: 50, Message: 4 << 20, Time: 5 * time.Second},
		CORS:        api.CORS{Headers: api.DefaultCORSHeaders},
		PoliciesDir: "./policies", RoutesDir: "./routes",
		ReloadDebounce: 100 * time.Millisecond, ReloadPoll: 10 * time.Second, ReloadCertificates: 10 * time.Second,
		Socket: listener.Socket{Mode: 0o660}, Limits: extauthz.Limits{Message: 16 << 20, Time: 5 * time.Second},
		DefaultPolicyVersion: "default", StrictEvaluation: true, Globals: value.Values{},
		Checks: extauthz.Options{
			Identity:  []extauthz.Source{{JWTMetadata: &extauthz.JWTMetadata{}}},
			Challenge: "Bearer", PrincipalHeader: "x-edict-principal", RolesHeader: "x-edict-roles",
			Respond: extauthz.Respond{MetadataKeys: extauthz.DefaultMetadataKeys},
			Filter:  extauthz.Filter{Header: "x-edict-filter"},
		},
		Filters: filtertoken.Options{
			Lifetime: filtertoken.DefaultLifetime, MaxBytes: filtertoken.DefaultMaxBytes,
			Handles: filtertoken.DefaultHandles, HandleBytes: filtertoken.DefaultHandleBytes, WaitingBytes: filtertoken.DefaultWaitingBytes,
		},
		LogLevel: "info", LogFormat: "auto",
		ShutdownDelay: 2 * time.Second, ShutdownTimeout: 10 * time.Second,
	}
}

func nodeOf(origin, text string) yamldoc.Node {
	n, _ := yamldoc.Parse(origin, []byte(text)).Root()
	return n
}

func equal(a, b Config) bool {
	globals := reflect.DeepEqual(value.OfMapping(a.Globals).Native(), value.OfMapping(b.Globals).Native())
	a.Globals, b.Globals = nil, nil
	return globals && reflect.DeepEqual(a, b)
}

func write(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "edict.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func client(text string) listener.Client {
	c, err := listener.ParseClient(text)
	if err != nil {
		panic(err)
	}
	return c
}

func TestLoad(t *testing.T) {
	for _, test := range []struct {
		name string
		file string // content; "" for no file
		env  []string
		sets []string
		want func(c *Config) // what differs from the defaults
	}{
		{name: "nothing", want: func(*Config) {}},
		{name: "comments alone", file: "# nothing yet\n", want: func(*Config) {}},
		{name: "nulls are as good as absent", file: "listen:\n  extAuthz:\nidentity: {sources: ~}\nlog:\n", want: func(*Config) {}},
		{name: "every key", file: `
listen:
  extAuthz: unix:/run/edict.sock
  extAuthzHTTP: 127.0.0.1:0
  apiGRPC: ""
  apiHTTP: unix:/run/api.sock
  admin: "[::1]:0"
  tls:
    extAuthz: {}
    extAuthzHTTP: {cert: c, key: k}
    apiGRPC: {cert: d, key: k}
    apiHTTP: {cert: e, key: k, clientCA: a}
    admin: {cert: c, key: k, clientCA: a, clients: ["spiffe://mesh.example/envoy", "spiffe://mesh.example", envoy.example], minVersion: 1.3}
  socket: {mode: "0600", group: edict, uids: [0, 101]}
extAuthzHTTP: {pathPrefix: /v1/ext, rawHeaders: true, decisionHeaders: true}
limits: {inFlight: 9, messageBytes: 4096, time: 250ms}
requestLimits: {maxActionsPerResource: 500, maxResourcesPerRequest: 1}
api: {inFlight: 7, messageBytes: 2048, time: 1s, url: "https://pdp.example.org/v1", admin: {enabled: true, username: root, passwordHash: JDJ5JA==}, cors: {disabled: true, allowedOrigins: ["https://app.example.org", "*"], allowedHeaders: [], maxAge: 1h}}
policies: {dir: p}
routes: {dir: r, ignoreCase: true}
accept: [encoded-slash, query-semicolon]
reload: {debounce: 1m30s, poll: 0s, certificates: 1s}
engine: {defaultPolicyVersion: 20260101, defaultScope: emea.fr-1, lenientScopeSearch: true, strictEvaluation: false, globals: {region: emea}}
schema: {enforcement: reject}
auxData:
  jwt:
    acceptableTimeSkew: 2s
    disableVerification: false
    keySets:
      - {id: a, remote: {url: https://issuer.example/keys, refreshInterval: 1h}}
      - {id: b, remote: {url: http://127.0.0.1:8080/keys}}
      - {id: c, local: {file: keys.jwk}}
      - {id: d, local: {data: eyJrZXlzIjpbXX0=}}
      - {id: e, local: {file: keys.pem, pem: true}, insecure: {optionalAlg: true, optionalKid: true}}
identity:
  sources:
    - headers: {id: x-user, roles: x-roles, attributes: {team: x-team}}
    - jwtMetadata: {namespace: n, key: k, id: i, roles: r, defaultRoles: [a, b]}
  anonymous: true
  challenge: Bearer realm="x"
upstream: {principalHeader: "", rolesHeader: x-r, decisionHeader: x-d, ignores: [x-host, _method]}
respond: {detail: none, onAllow: {}, onDeny: {}, decisionHeader: x-id, metadata: {keys: [effect, outputs], prefix: edge_}}
body: {limit: 8192}
filter: {header: x-f, lifetime: 1m, maxBytes: 2048, keyFile: f.pem, handles: 7, handleBytes: 65536, waitingBytes: 1000000}
log: {level: warn, format: console}
shutdown: {delay: 0s, timeout: 1h}
`, want: func(c *Config) {
			*c = Config{
				ExtAuthz: "unix:/run/edict.sock", Admin: "[::1]:0", PoliciesDir: "p", RoutesDir: "r", RoutesGiven: true,
				ReloadDebounce: 90 * time.Second, ReloadPoll: 0, ReloadCertificates: time.Second,
				ExtAuthzHTTP: "127.0.0.1:0", APIHTTP: "unix:/run/api.sock",
				API:      api.Limits{Actions: 500, Resources: 1, InFlight: 7, Message: 2048, Time: time.Second},
				APIURL:   "https://pdp.example.org/v1",
				AdminAPI: true, AdminAPICredentials: admin.Credentials{Username: "root", PasswordHash: []byte("$2y$")},
				CORS: api.CORS{Disabled: true, Origins: []string{"https://app.example.org", "*"}, Headers: []string{}, MaxAge: time.Hour},
				TLS: tlsOptions{
					ExtAuthzHTTP: &listener.TLS{Cert: "c", Key: "k", MinVersion: tls.VersionTLS12},
					APIGRPC:      &listener.TLS{Cert: "d", Key: "k", MinVersion: tls.VersionTLS12},
					APIHTTP:      &listener.TLS{Cert: "e", Key: "k", ClientCA: "a", MinVersion: tls.VersionTLS12},
					Admin: &listener.TLS{Cert: "c", Key: "k", ClientCA: "a", MinVersion: tls.VersionTLS13,
						Clients: []listener.Client{client("spiffe://mesh.example/envoy"), client("spiffe://mesh.example"), client("envoy.example")}},
				},
				Socket:               listener.Socket{Mode: 0o600, Group: "edict", UIDs: []uint32{0, 101}},
				ExtAuthzHTTPOptions:  extauthz.HTTPOptions{PathPrefix: "/v1/ext", RawHeaders: true, DecisionHeaders: true},
				Limits:               extauthz.Limits{InFlight: 9, Message: 4096, Time: 250 * time.Millisecond},
				DefaultPolicyVersion: "20260101", DefaultScope: "emea.fr-1", LenientScopeSearch: true, StrictEvaluation: false,
				Globals:           value.Values{"region": value.OfString("emea")},
				SchemaEnforcement: engine.SchemaReject,
				AuxData: auxdata.Options{AcceptableTimeSkew: 2 * time.Second, KeySets: []auxdata.KeySet{
					{ID: "a", Remote: &auxdata.Remote{URL: "https://issuer.example/keys", RefreshInterval: time.Hour}},
					{ID: "b", Remote: &auxdata.Remote{URL: "http://127.0.0.1:8080/keys"}},
					{ID: "c", Local: &auxdata.Local{File: "keys.jwk"}},
					{ID: "d", Local: &auxdata.Local{Data: []byte(`{"keys":[]}`)}},
					{ID: "e", Local: &auxdata.Local{File: "keys.pem", PEM: true}, OptionalAlg: true, OptionalKid: true},
				}},
				Checks: extauthz.Options{
					Identity: []extauthz.Source{
						{Headers: &extauthz.TrustedHeaders{ID: "x-user", Roles: "x-roles", Attributes: map[string]string{"team": "x-team"}}},
						{JWTMetadata: &extauthz.JWTMetadata{Namespace: "n", Keys: []string{"k"},
							Claims: claims.Mapping{ID: []string{"i"}, Roles: []claims.Roles{{Claim: "r"}}, DefaultRoles: []string{"a", "b"}}}},
					},
					Anonymous: true, Challenge: `Bearer realm="x"`, RolesHeader: "x-r", DecisionHeader: "x-d", Ignored: []string{"x-host", "_method"}, BodyLimit: 8192,
					IgnoreCase: true, Accept: target.AcceptEncodedSlash | target.AcceptQuerySemicolon,
					Respond: extauthz.Respond{DecisionHeader: "x-id", MetadataKeys: []string{"effect", "outputs"}, MetadataPrefix: "edge_"},
					Filter:  extauthz.Filter{Header: "x-f"},
				},
				Filters:  filtertoken.Options{KeyFile: "f.pem", Lifetime: time.Minute, MaxBytes: 2048, Handles: 7, HandleBytes: 65536, WaitingBytes: 1000000},
				LogLevel: "warn", LogFormat: "console", ShutdownDelay: 0, ShutdownTimeout: time.Hour,
				Warnings: c.Warnings, // of which TestWarnings knows
			}
		}},
		{name: "JSON", file: `{"log": {"level": "debug"}}`, want: func(c *Config) { c.LogLevel = "debug" }},
		{name: "snake case", file: "engine: {strict_evaluation: false}\nlisten: {ext_authz: a:1}\n",
			want: func(c *Config) { c.StrictEvaluation, c.ExtAuthz = false, "a:1" }},
		{name: "environment", env: []string{"HOME=/x", "EDICT_LISTEN_EXTAUTHZ=a:1", "EDICT_ENGINE_STRICT_EVALUATION=false", "EDICT_SHUTDOWN_DELAY=1ms"},
			want: func(c *Config) { c.ExtAuthz, c.StrictEvaluation, c.ShutdownDelay = "a:1", false, time.Millisecond }},
		{name: "environment with an underscore before each capital", env: []string{"EDICT_LISTEN_EXT_AUTHZ=a:1"},
			want: func(c *Config) { c.ExtAuthz = "a:1" }},
		{name: "environment with YAML", env: []string{"EDICT_IDENTITY_SOURCES=[{headers: {id: x-user}}]", "EDICT_ENGINE_GLOBALS={a: [1]}"},
			want: func(c *Config) {
				c.Checks.Identity = []extauthz.Source{{Headers: &extauthz.TrustedHeaders{ID: "x-user"}}}
				c.Globals = value.Values{"a": value.OfSequence(value.Slice{value.OfInt(1)})}
			}},
		{name: "environment outweighs file", file: "log: {level: warn, format: json}", env: []string{"EDICT_LOG_LEVEL=error"},
			want: func(c *Config) { c.LogLevel, c.LogFormat = "error", "json" }},
		{name: "set outweighs environment and file", file: "log: {level: warn, format: json}\nlisten: {admin: f:1}",
			env: []string{"EDICT_LOG_LEVEL=error", "EDICT_LISTEN_ADMIN=e:1"}, sets: []string{"log.level=debug"},
			want: func(c *Config) { c.LogLevel, c.LogFormat, c.Admin = "debug", "json", "e:1" }},
		{name: "the last set counts", sets: []string{"log.level=debug", "log.level=warn"}, want: func(c *Config) { c.LogLevel = "warn" }},
		{name: "set a subtree", sets: []string{"identity={sources: [{jwtMetadata: {id: email}}], anonymous: true}"},
			want: func(c *Config) {
				c.Checks.Identity = []extauthz.Source{{JWTMetadata: &extauthz.JWTMetadata{Claims: claims.Mapping{ID: []string{"email"}}}}}
				c.Checks.Anonymous = true
			}},
		{name: "a subtree sets what it names alone", file: "identity: {challenge: Basic}", sets: []string{"identity={anonymous: true}"},
			want: func(c *Config) { c.Checks.Challenge, c.Checks.Anonymous = "Basic", true }},
		{name: "set with an equals sign in the value", sets: []string{`identity.challenge=Bearer realm="a=b"`},
			want: func(c *Config) { c.Checks.Challenge = `Bearer realm="a=b"` }},
		{name: "set to the empty text", sets: []string{"upstream.rolesHeader="}, want: func(c *Config) { c.Checks.RolesHeader = "" }},
		{name: "answers", sets: []string{"respond.onAllow={headers: {x-a: b}}", "respond.onDeny={forbidden: {hide: true}}"}, want: func(c *Config) {
			// The nodes themselves are tested where they are compiled.
			c.Checks.Respond.OnAllow = routemap.ParseOnAllow(nodeOf("--set respond.onAllow", "{headers: {x-a: b}}"))
			c.Checks.Respond.OnDeny = routemap.ParseOnDeny(nodeOf("--set respond.onDeny", "{forbidden: {hide: true}}"))
		}},
		{name: "no sources", file: "identity: {sources: []}", want: func(c *Config) { c.Checks.Identity = nil }},
		{name: "sources and globals are replaced, not joined", file: "identity: {sources: [{headers: {id: x-user}}]}\nengine: {globals: {a: 1}}",
			sets: []string{"identity.sources=[{jwtMetadata: {}}]", "engine.globals={b: true}"},
			want: func(c *Config) { c.Globals = value.Values{"b": value.OfBool(true)} }},
		{name: "the kinds of globals", file: `
engine:
  globals: {int: 5, negative: -5, hex: 0x10, octal: 0o17, large: 9223372036854775808, double: 1.0, exponent: 1.5e3,
    text: emea, quoted: "5", word: "yes", date: 2026-01-01, bool: true, none: null, list: [1, 1.5, {x: 2}], map: {p: 3, a-b: [x]}, _: 1, if: 2}
`, want: func(c *Config) {
			c.Globals = value.Values{
				"int": value.OfInt(5), "negative": value.OfInt(-5), "hex": value.OfInt(16), "octal": value.OfInt(15), "large": value.OfUint(1 << 63),
				"double": value.OfDouble(1), "exponent": value.OfDouble(1500),
				"text": value.OfString("emea"), "quoted": value.OfString("5"), "word": value.OfString("yes"), "date": value.OfString("2026-01-01"),
				"bool": value.OfBool(true), "none": value.OfNull(), "_": value.OfInt(1), "if": value.OfInt(2),
				"list": value.OfSequence(value.Slice{value.OfInt(1), value.OfDouble(1.5), value.OfMapping(value.Values{"x": value.OfInt(2)})}),
				"map":  value.OfMapping(value.Values{"p": value.OfInt(3), "a-b": value.OfSequence(value.Slice{value.OfString("x")})}),
			}
		}},
		{name: "key sets are replaced, not joined", file: "auxData: {jwt: {keySets: [{id: a, local: {file: x}}]}}",
			sets: []string{"auxData.jwt.keySets=[{id: b, local: {file: y}}]"},
			want: func(c *Config) {
				c.AuxData.KeySets = []auxdata.KeySet{{ID: "b", Local: &auxdata.Local{File: "y"}}}
			}},
		{name: "every engine key by the environment", env: []string{"EDICT_ENGINE_DEFAULTPOLICYVERSION=v2", "EDICT_ENGINE_DEFAULT_SCOPE=a.b", "EDICT_ENGINE_LENIENT_SCOPE_SEARCH=true",
			"EDICT_SCHEMA_ENFORCEMENT=warn", "EDICT_AUXDATA_JWT_ACCEPTABLETIMESKEW=3s", "EDICT_AUXDATA_JWT_KEYSETS=[{id: b, local: {file: y}}]"},
			want: func(c *Config) {
				c.DefaultPolicyVersion, c.DefaultScope, c.LenientScopeSearch, c.SchemaEnforcement = "v2", "a.b", true, engine.SchemaWarn
				c.AuxData = auxdata.Options{AcceptableTimeSkew: 3 * time.Second, KeySets: []auxdata.KeySet{{ID: "b", Local: &auxdata.Local{File: "y"}}}}
			}},
		{name: "the root scope", sets: []string{"engine.defaultScope=."}, want: func(c *Config) { c.DefaultScope = "." }},
		{name: "a variable of another command", env: []string{"EDICT_HISTORY=/x"}, want: func(*Config) {}},
		{name: "the default of routes.dir, asked for", sets: []string{"routes.dir=./routes"}, want: func(c *Config) { c.RoutesGiven = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := ""
			if test.file != "" {
				file = write(t, test.file)
			}
			got, unknown, list := Load(file, test.env, test.sets)
			if len(list) > 0 || len(unknown) > 0 {
				t.Fatalf("unknown variables %q, diagnostics:\n%s", unknown, list.Render())
			}
			want := defaults()
			want.Warnings = got.Warnings
			test.want(&want)
			if !equal(*got, want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestRefusedFiles(t *testing.T) {
	codes := map[diag.Code]bool{}
	for _, c := range diagtest.Read(t, "testdata/refused.yaml") {
		t.Run(c.Name, func(t *testing.T) {
			l := newLoader()
			l.setVariables([]string{"SET=x", "NUMBER=7"})
			l.document(c.File, c.Content)
			c.Check(t, l.list)
		})
		for _, code := range c.Codes() {
			codes[code] = true
		}
	}
	for _, code := range []diag.Code{CodeBadValue, CodeUnsetVariable} {
		if !codes[code] {
			t.Errorf("no case is refused with %s", code)
		}
	}
}

func TestRefusedSetsAndVariables(t *testing.T) {
	for _, test := range []struct {
		sets, env []string
		want      []string // each a beginning of one diagnostic, as text in one line
	}{
		{sets: []string{"log.level"}, want: []string{"--set log.level: this is not of the form key.path=value [config-bad-set]; write, for example, --set log.level=debug"}},
		{sets: []string{"=debug"}, want: []string{"--set =debug: this is not of the form key.path=value"}},
		{sets: []string{"log.levl=debug"}, want: []string{`--set log.levl=debug: there is no key "log.levl" [config-unknown-key]; did you mean "log.level"? log has level, format`}},
		{sets: []string{"listen.grpc=:1"}, want: []string{`--set listen.grpc=:1: there is no key "listen.grpc" [config-unknown-key]; did you mean "listen.apiGRPC"? listen has extAuthz, `}},
		{sets: []string{"listen.port=1"}, want: []string{`--set listen.port=1: there is no key "listen.port" [config-unknown-key]; listen has extAuthz, `}},
		{sets: []string{"nothing.like.it=1"}, want: []string{`--set nothing.like.it=1: there is no key "nothing.like.it" [config-unknown-key]; known keys: listen.extAuthz, `}},
		{sets: []string{"LOG.LEVEL=debug"}, want: []string{`--set LOG.LEVEL=debug: there is no key "LOG.LEVEL" [config-unknown-key]; did you mean "log.level"?`}},
		{sets: []string{"engine.globals.region=emea"}, want: []string{"--set engine.globals.region=emea: engine.globals is set as a whole [config-unknown-key]; write --set 'engine.globals=…'"}},
		{sets: []string{"identity.sources[0]={}"}, want: []string{"--set identity.sources[0]={}: identity.sources is set as a whole"}},
		{sets: []string{"log.level=loud"}, want: []string{`--set log.level:1:1: "loud" is not a known value [unknown-value]`}},
		{sets: []string{"log.level=${NO_SUCH}"}, want: []string{`--set log.level:1:1: the environment variable "NO_SUCH" is not set [config-unset-variable]; give it a default, as in ${NO_SUCH:default}`}},
		{sets: []string{"auxData.jwt.keySets=[{id: a, remote: {ulr: https://x}}]"}, want: []string{
			`--set auxData.jwt.keySets:1:19: unknown field "ulr" [unknown-field]; did you mean "url"?`}},
		{sets: []string{"log.level="}, want: []string{`--set log.level:1:1: "" is not a known value`}},
		{sets: []string{"listen.extAuthz="}, want: []string{"--set listen.extAuthz:1:1: the text must not be empty"}},
		{sets: []string{"listen.extAuthz=[::1]:9001"}, want: []string{`--set listen.extAuthz:1:1: the bracket that is opened here is not closed, or a comma is missing behind it [yaml-unclosed]; the value is read as YAML, and must be quoted`}},
		{sets: []string{"identity={sources: [{headers: {id: X-User}}]}"}, want: []string{`--set identity:1:27: "X-User" is not in lower case`}},
		{sets: []string{"identity={sorces: []}"}, want: []string{`--set identity:1:2: unknown field "sorces" [unknown-field]; did you mean "sources"?`}},
		{sets: []string{"log=debug"}, want: []string{`--set log:1:1: expected a mapping, got the string "debug"`}},
		{env: []string{"EDICT_RELOAD_POLL=fast"}, want: []string{`EDICT_RELOAD_POLL:1:1: "fast" is not a duration [bad-duration]; write a number and a unit`}},
		{env: []string{"EDICT_LISTEN_EXT_AUTHZ=a:1", "EDICT_LISTEN_EXTAUTHZ=a:2"},
			want: []string{"EDICT_LISTEN_EXT_AUTHZ: EDICT_LISTEN_EXTAUTHZ sets listen.extAuthz too [config-set-twice]; keep one of the two variables"}},
		// All mistakes come in one run.
		{sets: []string{"log.level=loud", "log.format=pretty", "x"}, env: []string{"EDICT_BODY_LIMIT=-1", "EDICT_LISTEN_APIHTTP=a"}, want: []string{
			"--set log.format:1:1: ", "--set log.level:1:1: ", "--set x: ", "EDICT_BODY_LIMIT:1:1: ", "EDICT_LISTEN_APIHTTP:1:1: \"a\" is not an address to listen on",
		}},
	} {
		_, _, list := Load("", test.env, test.sets)
		ok := len(list) == len(test.want)
		for i := range list {
			ok = ok && strings.HasPrefix(list[i].Error(), test.want[i])
		}
		if !ok {
			t.Errorf("%q %q: got\n%v\nwant\n%s", test.env, test.sets, list, strings.Join(test.want, "\n"))
		}
	}
}

// A mistake in the file does not hide one elsewhere.
func TestMistakesEverywhere(t *testing.T) {
	file := write(t, "log:\n  level: loud\n  colour: true\n")
	_, _, list := Load(file, []string{"EDICT_LOG_FORMAT=x"}, []string{"log.level=y"})
	want := []string{"--set log.level:1:1: ", file + ":2:10: ", file + ":3:3: ", "EDICT_LOG_FORMAT:1:1: "}
	if len(list) != len(want) {
		t.Fatalf("got\n%v", list)
	}
	for i := range list {
		if !strings.HasPrefix(list[i].Error(), want[i]) {
			t.Errorf("got %s, want %s…", list[i].Error(), want[i])
		}
	}
	if list[1].Source != "  level: loud" {
		t.Errorf("the line of the file is %q", list[1].Source)
	}
}

func TestUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	for file, want := range map[string]string{
		filepath.Join(dir, "absent.yaml"): "no such file or directory",
		dir:                               "is a directory",
	} {
		_, _, list := Load(file, nil, nil)
		if len(list) != 1 || list[0].Error() != file+": the configuration can't be read: "+want+" [config-unreadable]" {
			t.Errorf("got %v", list)
		}
	}
}

// Variables that begin like Edict's and are none are named and no error:
// Kubernetes makes such ones up for a service called edict.
func TestUnknownVariables(t *testing.T) {
	_, unknown, list := Load("", []string{
		"EDICT_SERVICE_PORT_GRPC=9001", "EDICT_PORT=tcp://10.0.0.1:9001", "EDICT_LOG_LEVLE=debug", "EDICT_=", "EDICT", "edict_log_level=loud", "XEDICT_LOG_LEVEL=loud",
	}, nil)
	want := []string{"EDICT_", "EDICT_LOG_LEVLE", "EDICT_PORT", "EDICT_SERVICE_PORT_GRPC"}
	if !slices.Equal(unknown, want) || len(list) > 0 {
		t.Errorf("got %q, %v; want %q", unknown, list, want)
	}
}

// What stands for something else in a value.
func TestReferences(t *testing.T) {
	environ := []string{"NAME=emea", "NUMBER=5", "EMPTY=", "REFERENCE=${NAME}", "YAML={a: 1}", "COLON=a: b # c", "LINES=a\nb", "ODD=007"}
	for text, want := range map[string]value.Value{
		"${NAME}":                           value.OfString("emea"),
		"'${NAME}'":                         value.OfString("emea"),
		"$NAME":                             value.OfString("emea"),
		"x${NAME}y$NUMBER":                  value.OfString("xemeay5"),
		"${NUMBER}":                         value.OfInt(5),
		"'${NUMBER}'":                       value.OfInt(5),
		"!!str ${NUMBER}":                   value.OfString("5"),
		"!!str ${EMPTY}":                    value.OfString(""),
		"1${NUMBER}.5":                      value.OfDouble(15.5),
		"${NO:default}":                     value.OfString("default"),
		"'${NO:a:b}'":                       value.OfString("a:b"),
		"${NO:7}":                           value.OfInt(7),
		"${NO:true}":                        value.OfBool(true),
		"'${NO:\"\"}'":                      value.OfNull(),
		"${EMPTY}":                          value.OfNull(),
		"${EMPTY:default}":                  value.OfNull(),
		"x${EMPTY}":                         value.OfString("x"),
		"$${NAME}":                          value.OfString("${NAME}"),
		"$$NAME":                            value.OfString("$NAME"),
		"a$$$$b":                            value.OfString("a$$b"),
		"${REFERENCE}":                      value.OfString("${NAME}"),
		"'${NO:${NAME}}'":                   value.OfString("${NAME}"),
		"'${NO:a}b}'":                       value.OfString("ab}"),
		"'${NO:a$$b}'":                      value.OfString("a$$b"),
		"'${NAME'":                          value.OfString("${NAME"),
		"5$":                                value.OfString("5$"),
		"$1 $- a$ b":                        value.OfString("$1 $- a$ b"),
		"${YAML}":                           value.OfString("{a: 1}"),
		"${COLON}":                          value.OfString("a: b # c"),
		"${LINES}":                          value.OfString("a\nb"),
		"[\"${NUMBER}\", {b: \"${NAME}\"}]": value.OfSequence(value.Slice{value.OfInt(5), value.OfMapping(value.Values{"b": value.OfString("emea")})}),
		"{\"${NAME}\": 1}":                  value.OfMapping(value.Values{"${NAME}": value.OfInt(1)}),
		"plain # ${NO}":                     value.OfString("plain"),
	} {
		file := write(t, "engine:\n  globals:\n    g: "+text+"\n")
		c, _, list := Load(file, environ, nil)
		got, _ := c.Globals.Lookup("g")
		if len(list) > 0 || !reflect.DeepEqual(got.Native(), want.Native()) {
			t.Errorf("%s gives %#v, want %#v\n%s", text, got.Native(), want.Native(), list.Render())
		}
	}
}

// A reference may stand for a value of any type, in a file and in --set. The
// value of a variable that sets a key is final.
func TestReferencesInKeys(t *testing.T) {
	environ := []string{"SCOPE=emea", "LENIENT=true", "LEVEL=warn", "EDICT_IDENTITY_CHALLENGE=Bearer realm=\"${SCOPE}\""}
	file := write(t, "engine: {defaultScope: '${SCOPE}', lenientScopeSearch: '${LENIENT}'}\nbody:\n  limit: ${LIMIT:8192}\nlog:\n  format: ${FORMAT:}json\n")
	_, _, list := Load(file, environ, nil)
	if len(list) != 1 || list[0].Code != CodeUnsetVariable || list[0].Pos.Line != 5 || list[0].Source != "  format: ${FORMAT:}json" {
		t.Errorf("an empty default gives\n%s", list.Render())
	}
	c, _, list := Load(file, append(environ, "FORMAT="), []string{"log.level=${LEVEL}"})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	if c.DefaultScope != "emea" || !c.LenientScopeSearch || c.Checks.BodyLimit != 8192 || c.LogFormat != "json" || c.LogLevel != "warn" || c.Checks.Challenge != `Bearer realm="${SCOPE}"` {
		t.Errorf("got %+v", c)
	}
}

// What is taken and deserves a word is told, about the setting that counts.
func TestWarnings(t *testing.T) {
	file := write(t, `auxData:
  jwt:
    cacheSize: 256
    disableVerification: true
    keySets:
      - {id: a, local: {file: x}, insecure: {optionalKid: true}}
respond: {detail: full}
`)
	c, _, list := Load(file, nil, nil)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	want := []string{
		file + ":3:16: auxData.jwt.cacheSize has no effect: every token is verified every time [config-no-effect]; remove it",
		file + ":4:26: the claims of every token are believed, whoever made it [config-insecure]; ",
		file + `:6:7: the key set "a" does without the alg or the kid of its keys [config-insecure]; `,
		file + ":7:19: denials tell every client how the check ended, and which policy and rule decided [config-insecure]; ",
	}
	if len(c.Warnings) != len(want) {
		t.Fatalf("got %v", c.Warnings)
	}
	for i, w := range c.Warnings {
		if !strings.HasPrefix(w.Error(), want[i]) || w.Severity != diag.Warning || w.Source == "" {
			t.Errorf("got %#v, want %s", w, want[i])
		}
	}
	c, _, _ = Load(file, nil, []string{"auxData.jwt.disableVerification=false", "auxData.jwt.keySets=[]", "respond.detail=none"})
	if len(c.Warnings) != 1 || c.Warnings[0].Code != CodeNoEffect {
		t.Errorf("got %v", c.Warnings)
	}
	if c, _, _ := Load("", nil, nil); len(c.Warnings) > 0 {
		t.Errorf("the defaults give %v", c.Warnings)
	}
}

// Commands that decide without serving read the same file.
func TestLoadEngine(t *testing.T) {
	file := write(t, "listen: {admin: a:1}\nengine: {defaultPolicyVersion: v2, defaultScope: a.b, lenientScopeSearch: true, globals: {n: 1}}\nschema: {enforcement: warn}\n")
	got, list := LoadEngine(file, []string{"EDICT_ENGINE_STRICTEVALUATION=false", "EDICT_NO_SUCH=1"}, []string{"engine.defaultScope=c"})
	want := engine.Options{DefaultPolicyVersion: "v2", DefaultScope: "c", LenientScopeSearch: true, LenientEvaluation: true,
		Globals: value.Values{"n": value.OfInt(1)}, SchemaEnforcement: engine.SchemaWarn}
	globals := func(o engine.Options) any { return value.OfMapping(o.Globals).Native() }
	if len(list) > 0 || !reflect.DeepEqual(globals(got), globals(want)) {
		t.Errorf("got %+v, %v", got, list)
	}
	got.Globals, want.Globals = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, list := LoadEngine("", nil, []string{"engine.defaultScpoe=c"}); len(list) != 1 || !strings.Contains(list[0].Hint, "engine.defaultScope") {
		t.Errorf("got %v", list)
	}
}

// No two keys have one variable, and each key can be set by itself to its own
// default.
func TestKeys(t *testing.T) {
	variables := map[string]string{}
	for _, k := range Keys() {
		v := strings.ToUpper(strings.ReplaceAll(k.Path, ".", ""))
		if other, ok := variables[v]; ok {
			t.Errorf("%s and %s have one variable", k.Path, other)
		}
		variables[v] = k.Path
		if k.Doc == "" || k.Default == "" || !strings.HasSuffix(k.Doc, ".") && !strings.HasSuffix(k.Doc, ")") {
			t.Errorf("%s: default %q, text %q", k.Path, k.Default, k.Doc)
		}
		got, _, list := Load("", nil, []string{k.Path + "=" + k.Default})
		want := defaults()
		want.RoutesGiven = k.Path == "routes.dir"
		want.Warnings = got.Warnings // of which TestWarnings knows
		if len(list) > 0 || !equal(*got, want) {
			t.Errorf("--set %s=%s: got %+v, %v", k.Path, k.Default, got, list)
		}
	}
}

// sound fails a test if what was loaded is neither a configuration nor
// refused with reasons.
func sound(t *testing.T, c *Config, list diag.List) {
	t.Helper()
	for _, d := range list {
		if d.Pos.File == "" || d.Message == "" || d.Code == "" || strings.HasPrefix(d.Pos.File, "default of") {
			t.Errorf("a diagnostic says too little: %#v", d)
		}
	}
	if len(list) > 0 {
		return
	}
	levels, formats := []string{"trace", "debug", "info", "warn", "error"}, []string{"auto", "json", "console"}
	if c.ExtAuthz == "" || c.Admin == "" || c.PoliciesDir == "" || c.RoutesDir == "" || c.Globals == nil ||
		c.ReloadDebounce < 0 || c.ReloadPoll < 0 || c.ShutdownDelay < 0 || c.ShutdownTimeout < 0 || c.Checks.BodyLimit < 0 ||
		!slices.Contains(levels, c.LogLevel) || !slices.Contains(formats, c.LogFormat) {
		t.Errorf("nothing is wrong with %+v", c)
	}
	for _, set := range c.AuxData.KeySets {
		if err := set.Validate(); err != nil {
			t.Errorf("nothing is wrong with a key set: %v", err)
		}
	}
	if c.AuxData.AcceptableTimeSkew < 0 || strings.TrimSpace(c.DefaultPolicyVersion) == "" {
		t.Errorf("nothing is wrong with %+v", c)
	}
	for n, s := range c.Checks.Identity {
		if j := s.JWT; j != nil {
			for _, i := range j.Issuers {
				if err := i.Validate(); err != nil {
					t.Errorf("nothing is wrong with source %d: %v", n, err)
				}
				if _, err := claims.Compile(i.Claims); err != nil {
					t.Errorf("nothing is wrong with source %d: %v", n, err)
				}
			}
			continue
		}
		if (s.JWTMetadata == nil) == (s.Headers == nil) || s.Headers != nil && s.Headers.ID == "" {
			t.Errorf("nothing is wrong with source %d: %+v", n, s)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, c := range diagtest.Read(f, "testdata/refused.yaml") {
		f.Add(strings.TrimLeft(string(c.Content), "\n"))
	}
	f.Add("identity: {sources: [{headers: {id: x-user, attributes: {a: x-a}}}, {jwtMetadata: {defaultRoles: [a]}}]}")
	f.Add("a: &a {level: debug}\nlog: *a")
	f.Add("engine: &e\n  globals: {<<: *e}")
	f.Add("engine: {globals: {a: .inf, b: 0x10, c: 2026-01-01, d: !!binary x}}")
	f.Add("listen: {ext_authz: 'unix:', extAuthz: '%:1'}\n---\nlog: {}")
	f.Add("engine: {globals: {a: '${NAME}', b: [$NAME, '${NO:}'], c: $$, d: !!int '${NAME}'}}")
	f.Add("auxData: {jwt: {keySets: [{id: a, local: {data: e30=, pem: true}, insecure: {optionalAlg: true, optionalKid: true}}, {id: a, remote: {url: 'http://x', refreshInterval: 1h}}]}}")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, content string) {
		l := newLoader()
		l.setVariables([]string{"NAME=5"})
		l.document("edict.yaml", []byte(content))
		sound(t, l.config, l.list)
	})
}

func FuzzSet(f *testing.F) {
	for _, k := range Keys() {
		f.Add(k.Path, k.Default)
	}
	f.Add("identity", "{sources: [{headers: {id: X}}]}")
	f.Add("log.level", "\"debug\" # loud")
	f.Add("engine.globals", "&a [*a]")
	f.Add("auxData.jwt.x", "")
	f.Add("", "=")
	f.Add("listen", "{extAuthz: unix:, admin: ':'}")
	f.Fuzz(func(t *testing.T, path, text string) {
		c, _, list := Load("", nil, []string{path + "=" + text})
		sound(t, c, list)
		name := "EDICT_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
		c, unknown, list := Load("", []string{fmt.Sprintf("%s=%s", name, text)}, nil)
		sound(t, c, list)
		if len(unknown) > 1 {
			t.Errorf("one variable gave %q", unknown)
		}
	})
}
