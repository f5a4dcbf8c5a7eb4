package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edict/cmd/edict/internal/listener"
	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
	"edict/extauthz/routemap"
	"edict/extauthz/wire"
)

// A Key is one setting.
type Key struct {
	Path    string // listen.extAuthz
	Default string // as YAML
	Doc     string // one sentence, for the table in docs/configuration.md

	set func(*Config, yamldoc.Node)
}

// Keys gives every key, in the order of the documentation.
func Keys() []Key {
	return []Key{
		{"listen.extAuthz", "127.0.0.1:9001", "Where Envoy asks: gRPC ext_authz, gRPC health and reflection. `host:port` or `unix:/path`.",
			address(func(c *Config, s string) { c.ExtAuthz = s })},
		{"listen.admin", "127.0.0.1:9002", "Where `/healthz` and `/readyz` are. `host:port` or `unix:/path`.",
			address(func(c *Config, s string) { c.Admin = s })},
		{"listen.extAuthzHTTP", `""`, "Where Envoy asks whose filter has an `http_service`; see [protocols](protocols.md#ask-over-http). `\"\"`: nowhere.",
			optional(func(c *Config, s string) { c.ExtAuthzHTTP = s })},
		{"listen.apiGRPC", "127.0.0.1:3593", "Where applications ask by gRPC: the [API of Cerbos](api.md), gRPC health and reflection. `\"\"`: nowhere.",
			optional(func(c *Config, s string) { c.APIGRPC = s })},
		{"listen.apiHTTP", "127.0.0.1:3592", "Where applications ask by HTTP and JSON, or by gRPC, too. `\"\"`: nowhere.",
			optional(func(c *Config, s string) { c.APIHTTP = s })},
		{"listen.tls.extAuthz", "{}", "TLS of `listen.extAuthz`: `cert`, `key`, `clientCA`, `clients`, `minVersion`; see [protocols](protocols.md#encrypt-and-know-envoy-by-its-certificate). `{}`: plain text.",
			tlsOf(func(c *Config, t *listener.TLS) { c.TLS.ExtAuthz = t })},
		{"listen.tls.extAuthzHTTP", "{}", "TLS of `listen.extAuthzHTTP`, in the same form.",
			tlsOf(func(c *Config, t *listener.TLS) { c.TLS.ExtAuthzHTTP = t })},
		{"listen.tls.admin", "{}", "TLS of `listen.admin`, in the same form.",
			tlsOf(func(c *Config, t *listener.TLS) { c.TLS.Admin = t })},
		{"listen.tls.apiGRPC", "{}", "TLS of `listen.apiGRPC`, in the same form.",
			tlsOf(func(c *Config, t *listener.TLS) { c.TLS.APIGRPC = t })},
		{"listen.tls.apiHTTP", "{}", "TLS of `listen.apiHTTP`, in the same form.",
			tlsOf(func(c *Config, t *listener.TLS) { c.TLS.APIHTTP = t })},
		{"listen.socket.mode", `"0660"`, "The mode of Unix sockets, octal. Connecting takes the right to write.", setSocketMode},
		{"listen.socket.group", `""`, "The group of Unix sockets, by name or number. `\"\"`: the process's own.",
			func(c *Config, n yamldoc.Node) {
				if t, ok := n.Text(); ok {
					c.Socket.Group = t.Value
				}
			}},
		{"listen.socket.uids", "[]", "The users, by number, whose processes may connect to Unix sockets (`SO_PEERCRED`, Linux alone). `[]`: all that the mode lets.", setSocketUIDs},

		{"extAuthzHTTP.pathPrefix", `""`, "Envoy's `http_service.path_prefix`. It is taken off once; a path without it is refused.", setPathPrefix},
		{"extAuthzHTTP.rawHeaders", "false", "Envoy's filter has `encode_raw_headers: true`, so that repeated headers are kept apart.",
			boolean(func(c *Config, b bool) { c.ExtAuthzHTTPOptions.RawHeaders = b })},
		{"extAuthzHTTP.decisionHeaders", "false", "Answer with the dynamic metadata as headers `x-edict-decision-…`, for `dynamic_metadata_from_headers`.",
			boolean(func(c *Config, b bool) { c.ExtAuthzHTTPOptions.DecisionHeaders = b })},

		{"limits.inFlight", "0", "How many checks are answered at once; one more is denied with 503. `0`: 64 for each core.", setInFlight},
		{"limits.messageBytes", "16777216", "The longest check, headers and body included; a longer one is denied with 413.", setMessageBytes},
		{"limits.time", "5s", "The longest time that a check may take, if Envoy's deadline is no sooner.", setCheckTime},

		{"policies.dir", "./policies", "The folder of the policies. It is watched.",
			folder(func(c *Config, s string) { c.PoliciesDir = s })},
		{"routes.dir", "./routes", "The folder of the route maps, which form one revision with the policies. It is watched. Only the default may be missing.",
			folder(func(c *Config, s string) { c.RoutesDir = s })},
		{"routes.ignoreCase", "false", "Paths are compared without regard to upper and lower case, as backends do that ignore it (Express, ASP.NET, IIS). Set it if all of them do; see [routes](routes.md#upper-and-lower-case).",
			boolean(func(c *Config, b bool) { c.Checks.IgnoreCase = b })},
		{"reload.debounce", "100ms", "How long the folders must be quiet before they are read again. After ten times that they are read, quiet or not.",
			duration(func(c *Config, n time.Duration) { c.ReloadDebounce = n })},
		{"reload.poll", "10s", "How often the folders are looked at where the system reports no changes, as on network file systems. `0s`: never.",
			duration(func(c *Config, n time.Duration) { c.ReloadPoll = n })},
		{"reload.certificates", "10s", "How often the files of `listen.tls` are read, to take what is new.", setCertificatePoll},

		{"engine.defaultPolicyVersion", "default", "The policy version of a principal or resource that names none.",
			setDefaultPolicyVersion},
		{"engine.defaultScope", `""`, "The scope of a principal or resource that names none. `\"\"` is the root scope.", setDefaultScope},
		{"engine.lenientScopeSearch", "false", "A request in a scope without policies is decided by the nearest scope above that has some. With `false` it is denied.",
			boolean(func(c *Config, b bool) { c.LenientScopeSearch = b })},
		{"engine.strictEvaluation", "true", "A condition that can't be evaluated denies the action. With `false` it counts as not met, so that a DENY rule with an error does not apply.",
			boolean(func(c *Config, b bool) { c.StrictEvaluation = b })},
		{"engine.globals", "{}", "Values that conditions read as `globals.name` or `G.name`. An integer is a CEL `int` there, any other number a `double`.", setGlobals},

		{"schema.enforcement", "none", "What becomes of attributes that break their schema. `none`: schemas are not looked at. `warn`: the answer tells what is wrong. `reject`: every action is denied, too.",
			enum(func(c *Config, s string) { c.SchemaEnforcement = enforcements[s] }, "none", "warn", "reject")},

		{"auxData.jwt.keySets", "[]", "The keys that tokens in API requests are verified with; see [tokens](#tokens-in-api-requests). Without any, no token is believed.", setKeySets},
		{"auxData.jwt.acceptableTimeSkew", "0s", "How far off the clock of an issuer may be when `exp`, `nbf` and `iat` of a token are looked at.",
			duration(func(c *Config, n time.Duration) { c.AuxData.AcceptableTimeSkew = n })},
		{"auxData.jwt.disableVerification", "false", "Believe the claims of every token, whoever made it. Its times are enforced still.",
			boolean(func(c *Config, b bool) { c.AuxData.DisableVerification = b })},
		{"auxData.jwt.cacheSize", "0", "Has no effect, and is known because configurations of Cerbos set it. Every token is verified every time.", setCacheSize},

		{"requestLimits.maxActionsPerResource", "50", "How many actions of one resource a request to the API may ask about, at most 500.",
			requestLimit(func(c *Config, n int) { c.API.Actions = n })},
		{"requestLimits.maxResourcesPerRequest", "50", "How many resources a request to the API may ask about, at most 500.",
			requestLimit(func(c *Config, n int) { c.API.Resources = n })},

		{"api.inFlight", "0", "How many calls of the API are answered at once, a batch being one; one more is refused with `UNAVAILABLE`, over HTTP 503. `0`: 64 for each core.", setAPIInFlight},
		{"api.messageBytes", "4194304", "The longest request to the API, and the longest answer; what is longer is refused with `RESOURCE_EXHAUSTED`, over HTTP 429.", setAPIMessageBytes},
		{"api.time", "5s", "The longest time that a call of the API may take, if its own deadline is no sooner.", setAPITime},
		{"api.url", `""`, "Where clients find the API over HTTP, like `https://pdp.example.org`, which the metadata of AuthZEN tell. `\"\"`: what each request for them says.", setAPIURL},
		{"api.cors.disabled", "false", "Web pages of other origins may not use the API.",
			boolean(func(c *Config, b bool) { c.CORS.Disabled = b })},
		{"api.cors.allowedOrigins", "[]", "The origins whose pages may use the API, like `https://app.example.org`. `[]`: all.", setCORSOrigins},
		{"api.cors.allowedHeaders", "[accept, content-type, user-agent, x-requested-with]", "The headers that requests of such pages may have.", setCORSHeaders},
		{"api.cors.maxAge", "0s", "How long browsers may remember what such pages may do. `0s`: as long as they like.",
			duration(func(c *Config, n time.Duration) { c.CORS.MaxAge = n })},
		{"api.admin.enabled", "false", "Answer the calls of the [Admin API](admin.md) that read, to who has the credentials. Without these Edict does not start.",
			boolean(func(c *Config, b bool) { c.AdminAPI = b })},
		{"api.admin.username", `""`, "The name of who may ask.", setAdminUsername},
		{"api.admin.passwordHash", `""`, "The bcrypt hash of the password, in base64, as in configurations of Cerbos.", setAdminPasswordHash},

		{"identity.sources", "[{jwtMetadata: {}}]", "Where the identity of a request comes from, in order; see [identity](identity.md).", setSources},
		{"identity.anonymous", "false", "Requests without an identity ask the policies as the principal `anonymous` with the role `anonymous`, on every route.",
			boolean(func(c *Config, b bool) { c.Checks.Anonymous = b })},
		{"identity.requireKeys", "false", "`/readyz` fails as long as there are no keys to verify the tokens of some issuer of a `jwt` source with. With `false` it only lists these issuers.",
			boolean(func(c *Config, b bool) { c.RequireKeys = b })},
		{"identity.challenge", "Bearer", "The `WWW-Authenticate` header of a 401.",
			setChallenge},
		{"upstream.principalHeader", "x-edict-principal", "The header that tells the upstream the principal's id. `\"\"`: none.",
			header(func(c *Config, s string) { c.Checks.PrincipalHeader = s })},
		{"upstream.rolesHeader", "x-edict-roles", "The header that tells the upstream the principal's roles. `\"\"`: none.",
			header(func(c *Config, s string) { c.Checks.RolesHeader = s })},
		{"accept", "[]", "Spellings of paths and queries that routes admit which name none of their own; see [routes](routes.md#spellings-that-can-be-accepted).",
			setAccept},
		{"upstream.ignores", "[]", "Headers, and the parameter `_method`, by which a client could ask a backend for another method, path or host, and that the upstream is known not to heed; see [routes](routes.md#what-a-header-says-otherwise).",
			setIgnores},
		{"upstream.decisionHeader", `""`, "The header that tells the upstream the id of the decision. `\"\"`: none.",
			header(func(c *Config, s string) { c.Checks.DecisionHeader = s })},
		{"filter.header", "x-edict-filter", "The header that tells the upstream which rows may be shown, on routes that are [planned](routes.md#plans). `\"\"`: none, so that such routes deny.",
			header(func(c *Config, s string) { c.Checks.Filter.Header = s })},
		{"filter.lifetime", "30s", "How long a filter is good for, in whole seconds from 1s to 10m.", setFilterLifetime},
		{"filter.maxBytes", "4096", "The longest value of `filter.header`, from 1024 to 16384 bytes. What does not fit is fetched by the backend, once.",
			filterNumber("filter.maxBytes", filtertoken.MinBytes, filtertoken.MaxBytes, func(o *filtertoken.Options) *int { return &o.MaxBytes })},
		{"filter.keyFile", `""`, "The file of the Ed25519 key that filters are signed with, in PEM (PKCS#8). It is read again when it changes. `\"\"`: a key is made at start, which no other process has.",
			func(c *Config, n yamldoc.Node) {
				if t, ok := n.Text(); ok {
					c.Filters.KeyFile = t.Value
				}
			}},
		{"filter.handles", "4096", "How many filters may wait to be fetched; a request whose filter would be one more is denied.",
			filterNumber("filter.handles", 1, filtertoken.MaxHandles, func(o *filtertoken.Options) *int { return &o.Handles })},
		{"filter.handleBytes", "262144", "The largest filter that may be fetched; a request with a larger one is denied.",
			filterNumber("filter.handleBytes", filtertoken.MinHandleBytes, filtertoken.MaxHandleBytes, func(o *filtertoken.Options) *int { return &o.HandleBytes })},
		{"filter.waitingBytes", "67108864", "How many bytes all filters that wait to be fetched may have; a request whose filter would be more is denied.",
			filterNumber("filter.waitingBytes", filtertoken.MinWaitingBytes, filtertoken.MaxWaitingBytes, func(o *filtertoken.Options) *int { return &o.WaitingBytes })},
		{"respond.detail", "none", "What denials tell of their reason. `none`: nothing. `full`: how the check ended, and which policy and rule decided; for development alone.",
			enum(func(c *Config, s string) { c.Checks.Respond.FullDetail = s == "full" }, "none", "full")},
		{"respond.onAllow", "{}", "What becomes of requests that are allowed; see [responses](responses.md). Route maps and routes add to it.",
			setOnAllow},
		{"respond.onDeny", "{}", "How clients are told of denials that no route says anything about; see [responses](responses.md).",
			setOnDeny},
		{"respond.decisionHeader", `""`, "The header that tells the client the id of the decision, whatever it was. `\"\"`: none.",
			header(func(c *Config, s string) { c.Checks.Respond.DecisionHeader = s })},
		{"respond.metadata.keys", "[" + strings.Join(extauthz.DefaultMetadataKeys, ", ") + "]", "What Envoy's access log and its other filters can read as [dynamic metadata](responses.md#dynamic-metadata). There are `roles` and `outputs`, too.",
			setMetadataKeys},
		{"respond.metadata.prefix", `""`, "What stands before each of these keys, where two ext_authz filters of one chain would overwrite each other's.",
			setMetadataPrefix},
		{"body.limit", "0", "Envoy's `max_request_bytes`, where no context extension `body_limit` tells it. `0`: not known.",
			setBodyLimit},
		{"body.protoDescriptors", "[]", "Files with descriptor sets of gRPC services, as `protoc --include_imports --descriptor_set_out` or `buf build` make them. Routes read the messages of unary calls by them; see [bodies](routes.md#bodies).",
			setProtoDescriptors},

		{"log.level", "info", "`trace`, `debug`, `info`, `warn` or `error`. With `debug` every decision is logged.",
			enum(func(c *Config, s string) { c.LogLevel = s }, "trace", "debug", "info", "warn", "error")},
		{"log.format", "auto", "`json`, `console`, or `auto`: console on a terminal.",
			enum(func(c *Config, s string) { c.LogFormat = s }, "auto", "json", "console")},

		{"shutdown.delay", "2s", "After SIGTERM, how long Edict reports NOT_SERVING and still answers, so that Envoy turns away first.",
			duration(func(c *Config, n time.Duration) { c.ShutdownDelay = n })},
		{"shutdown.timeout", "10s", "How long calls that are under way may take after that.",
			duration(func(c *Config, n time.Duration) { c.ShutdownTimeout = n })},
	}
}

func setChallenge(c *Config, n yamldoc.Node) {
	t, ok := n.NonEmptyText()
	if ok && !wire.ValidHeader("www-authenticate", t.Value) {
		n.Report(CodeBadValue, "this can't be sent as a header", "use printable ASCII alone")
		return
	}
	c.Checks.Challenge = t.Value
}

func setBodyLimit(c *Config, n yamldoc.Node) {
	i, ok := n.Int()
	if ok && i < 0 {
		n.Report(CodeBadValue, "body.limit is a number of bytes and can't be negative", "")
		return
	}
	c.Checks.BodyLimit = i
}

func setOnAllow(c *Config, n yamldoc.Node) {
	c.Checks.Respond.OnAllow = nil
	if entries, ok := n.Entries(); ok && len(entries) > 0 {
		c.Checks.Respond.OnAllow = routemap.ParseOnAllow(n)
	}
}

func setOnDeny(c *Config, n yamldoc.Node) {
	c.Checks.Respond.OnDeny = nil
	if entries, ok := n.Entries(); ok && len(entries) > 0 {
		c.Checks.Respond.OnDeny = routemap.ParseOnDeny(n)
	}
}

func setMetadataKeys(c *Config, n yamldoc.Node) {
	keys := []string{} // which is none, and not the default
	texts, _ := n.Texts()
	known := extauthz.MetadataKeys()
	for _, t := range texts {
		if !slices.Contains(known, t.Value) {
			hint := diag.DidYouMean(t.Value, known)
			if hint == "" {
				hint = "known keys: " + strings.Join(known, ", ")
			}
			n.Document().Report(t.Pos, CodeBadValue, fmt.Sprintf("there is no metadata %q", t.Value), hint)
		}
		keys = append(keys, t.Value)
	}
	c.Checks.Respond.MetadataKeys = keys
}

var metadataPrefix = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

func setMetadataPrefix(c *Config, n yamldoc.Node) {
	t, ok := n.Text()
	if ok && !metadataPrefix.MatchString(t.Value) {
		n.Report(CodeBadValue, fmt.Sprintf("%q can't begin a key", t.Value), "write letters, digits and _ . -")
		return
	}
	c.Checks.Respond.MetadataPrefix = t.Value
}

func setSources(c *Config, n yamldoc.Node) {
	list, _ := n.List()
	c.Checks.Identity = nil
	named := map[string]diag.Position{}
	for _, n := range list {
		o, ok := n.Object("name", "jwtMetadata", "jwt", "apiKey", "mtls", "xfcc", "headers")
		if !ok {
			continue
		}
		s := extauthz.Source{Name: sourceName(o, named)}
		switch kind, n, ok := o.OneOf("jwtMetadata", "jwt", "apiKey", "mtls", "xfcc", "headers"); {
		case !ok:
			continue
		case kind == "jwtMetadata":
			s.JWTMetadata = jwtMetadata(n)
		case kind == "jwt":
			s.JWT = jwt(n)
		case kind == "apiKey":
			s.APIKeys = apiKeys(n)
		case kind == "mtls":
			s.MTLS = mtls(n)
		case kind == "xfcc":
			s.XFCC = forwardedCert(n)
		default:
			s.Headers = trustedHeaders(n)
		}
		c.Checks.Identity = append(c.Checks.Identity, s)
	}
}

// sourceName reads the name of a source, of which no two may have the same.
func sourceName(o yamldoc.Object, named map[string]diag.Position) string {
	n, ok := o.Field("name")
	if !ok {
		return ""
	}
	t, ok := n.NonEmptyText()
	if !ok {
		return ""
	}
	if !routemap.IsName(t.Value) {
		n.Report(CodeBadValue, fmt.Sprintf("%q is not a plain name", t.Value), "begin with a letter and go on with letters, digits and _ . -")
	}
	if first, repeated := named[t.Value]; repeated {
		n.ReportRelated(CodeBadValue, fmt.Sprintf("there are two sources with the name %q", t.Value), "give each a name of its own",
			diag.Related{Pos: first, Message: "the first one"})
	}
	named[t.Value] = t.Pos
	return t.Value
}

func trustedHeaders(n yamldoc.Node) *extauthz.TrustedHeaders {
	h := new(extauthz.TrustedHeaders)
	o, ok := n.Object("id", "roles", "attributes")
	if !ok {
		return h
	}
	o.Required("id")
	headerField(o, "id", &h.ID)
	headerField(o, "roles", &h.Roles)
	if n, ok := o.Field("attributes"); ok {
		entries, _ := n.Entries()
		h.Attributes = map[string]string{}
		for _, e := range entries {
			if t, ok := e.Value.NonEmptyText(); ok && isHeader(e.Value, t.Value) {
				h.Attributes[e.Key.Value] = t.Value
			}
		}
	}
	return h
}

func field(o yamldoc.Object, name string, dst *string) {
	if n, ok := o.Field(name); ok {
		if t, ok := n.NonEmptyText(); ok {
			*dst = t.Value
		}
	}
}

func headerField(o yamldoc.Object, name string, dst *string) {
	if n, ok := o.Field(name); ok {
		if t, ok := n.NonEmptyText(); ok && isHeader(n, t.Value) {
			*dst = t.Value
		}
	}
}

// CodeBadValue is for a value of the right type that makes no sense.
const CodeBadValue diag.Code = "config-bad-value"
