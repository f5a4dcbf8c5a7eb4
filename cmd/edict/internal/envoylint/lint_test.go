package envoylint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/diag/diagtest"
	"edict/extauthz"
)

// Every finding is made on the line that is wrong, and its mended form is clean.
func TestFindings(t *testing.T) {
	files := glob(t, "testdata/*.yaml")
	for _, file := range files {
		for _, c := range diagtest.Read(t, file) {
			t.Run(c.Name, func(t *testing.T) {
				c.Check(t, judge(c.File, string(c.Content), needsOf(c.Name)))
			})
		}
	}
}

// needsOf gives what Edict needs in the cases that say so by their name.
func needsOf(name string) *extauthz.Needs {
	_, of, ok := strings.Cut(name, " with ")
	if !ok {
		return nil
	}
	claims := []extauthz.Claims{{Namespace: jwtNamespace, Key: "jwt"}}
	switch strings.TrimSuffix(of, ", mended") {
	case "claims":
		return &extauthz.Needs{Claims: claims, Namespaces: []string{jwtNamespace}, Upstream: []string{"x-edict-principal"}}
	case "other claims":
		return &extauthz.Needs{Claims: []extauthz.Claims{{Namespace: "acme.tokens", Key: "jwt"}}, Namespaces: []string{"acme.tokens"}}
	case "body":
		return &extauthz.Needs{BodyRoutes: []string{"shop/order"}, BodyLimit: 8192}
	case "plans":
		return &extauthz.Needs{PlannedRoutes: []string{"shop/list"}}
	case "fields":
		return &extauthz.Needs{SNI: true, Labels: true, RouteNamespaces: []string{"acme"}}
	case "tokens":
		return &extauthz.Needs{Headers: []string{"authorization"}, TokenHeaders: []string{"authorization"}}
	case "keys":
		return &extauthz.Needs{Headers: []string{"x-api-key"}, TokenHeaders: []string{"x-api-key"}, Upstream: []string{"x-api-key", "x-edict-principal", "x-tier"}}
	case "headers":
		return &extauthz.Needs{Headers: []string{"x-user"}, IdentityHeaders: []string{"x-user"}, Upstream: []string{"x-user"}}
	}
	panic("no needs called " + of)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

func judge(name, content string, needs *extauthz.Needs) diag.List {
	return Lint([]File{{name, []byte(content)}}, Options{Needs: needs}).Findings
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Nothing is found in what is as it should be.
func TestGood(t *testing.T) {
	for _, file := range append(glob(t, "testdata/good/*.yaml"), "../../../../envoy/envoy.yaml") {
		result := Lint([]File{{file, []byte(read(t, file))}}, Options{})
		if len(result.Findings) > 0 || result.Unreadable || result.Judged == 0 {
			t.Errorf("%d documents of %s were judged:\n%s", result.Judged, file, result.Findings.Render())
		}
	}
}

// Nothing is found in the manifests, each folder of which is judged as a whole.
func TestManifests(t *testing.T) {
	const root = "../../../../envoy/"
	for _, folders := range [][]string{{"istio/central", "kubernetes"}, {"istio/sidecar"}, {"gateway", "kubernetes"}} {
		var files []File
		for _, folder := range folders {
			for _, name := range glob(t, root+folder+"/*.yaml") {
				files = append(files, File{name, []byte(read(t, name))})
			}
		}
		result := Lint(files, Options{})
		if len(result.Findings) > 0 || result.Unreadable || result.Judged < 3 {
			t.Errorf("%d documents of %v were judged:\n%s", result.Judged, folders, result.Findings.Render())
		}
	}
}

// One thing that is broken in a whole configuration is found, and nothing else.
func TestBrokenCopies(t *testing.T) {
	edge, istio, gateway, demo := "testdata/good/bootstrap-edge.yaml", "testdata/good/istio.yaml", "testdata/good/gateway.yaml", "../../../../envoy/envoy.yaml"
	for _, tt := range []struct {
		name, file string
		old, new   string // what is replaced, once
		code       diag.Code
		at         string // in the line of the finding
	}{
		{"namespace", edge, "metadata_context_namespaces: [envoy.filters.http.jwt_authn]", "metadata_context_namespaces: []", CodeMetadataMissing, "metadata_context_namespaces"},
		{"namespace of the demo", demo, "metadata_context_namespaces: [envoy.filters.http.jwt_authn]", "", CodeMetadataMissing, "name: envoy.filters.http.ext_authz"},
		{"append", edge, ", append_action: OVERWRITE_IF_EXISTS_OR_ADD", "", CodeAppendDefault, "key: x-zone"},
		{"prefix", edge, "match: {path: /healthz}", "match: {prefix: /healthz}", CodeFilterDisabled, "disabled: true"},
		{"YAML 1.1", edge, "failure_mode_allow: false", "failure_mode_allow: Yes", CodeFailOpen, "failure_mode_allow"},
		{"weighted cluster", edge, "route: {cluster: shop, timeout: 10s}", `route: {timeout: 10s, weighted_clusters: {clusters: [{name: shop, weight: 1, typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}]}}`, CodeFilterDisabled, "weighted_clusters"},
		{"matcher", edge, "                      routes:\n", `                      matcher: {on_no_match: {action: {name: route, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, route: {cluster: shop}, typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}}}}
                      routes:
`, CodeFilterDisabled, "matcher"},
		{"streaming", edge, "match: {path_separated_prefix: /orders}", "match: {prefix: /shop.v1.Orders/}", CodeBodyStreaming, "/shop.v1.Orders/"},
		{"600 s", edge, "timeout: 0.250s", "timeout: 600s", CodeTimeoutLong, "timeout: 600s"},
		{"fail open", edge, "failure_mode_allow: false", "failure_mode_allow: true", CodeFailOpen, "failure_mode_allow"},
		{"KEEP_UNCHANGED", edge, "REJECT_REQUEST\n", "KEEP_UNCHANGED\n", CodeEscapedSlashes, "KEEP_UNCHANGED"},
		{"no escaped slashes", demo, "path_with_escaped_slashes_action: REJECT_REQUEST", "", CodeEscapedSlashes, "typed_config:"},
		{"upgrade", edge, "{upgrade_type: websocket}", "{upgrade_type: websocket, filters: [{name: envoy.filters.http.router}]}", CodeUpgradeUnguarded, "upgrade_type"},
		{"whole host", edge, "check_settings: {context_extensions: {tenant: shop}}", "disabled: true", CodeFilterDisabled, "disabled: true"},
		{"body limit", edge, `body_limit: "16384"`, `body_limit: "65536"`, CodeBodyLimit, "body_limit"},
		{"TLS", edge, "trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}", "max_verify_depth: 3", CodeTLSUnverified, "common_tls_context"},
		{"Istio timeout", istio, "      timeout: 0.2s\n      failOpen: false\n", "", CodeTimeoutLong, "envoyExtAuthzGrpc"},
		{"Istio fail open", istio, "failOpen: false", "failOpen: true", CodeFailOpen, "failOpen"},
		{"headless", istio, "  selector: {app: edict}", "  clusterIP: None", CodeIstioHeadless, "clusterIP"},
		{"Istio prefix", istio, "notPaths: [/healthz]", "notPaths: [/healthz*]", CodeFilterDisabled, "notPaths"},
		{"Istio plain paths", istio, "MERGE_SLASHES", "NONE", CodeNormalizePath, "NONE"},
		{"Gateway timeout", gateway, "    timeout: 200ms\n", "", CodeTimeoutLong, "extAuth:"},
		{"Gateway fail open", gateway, "failOpen: false", "failOpen: true", CodeFailOpen, "failOpen"},
		{"Gateway slashes", gateway, "RejectRequest}\n  headers", "KeepUnchanged}\n  headers", CodeEscapedSlashes, "escapedSlashesAction"},
		{"Gateway order", gateway, "{name: envoy.filters.http.ext_authz, after: envoy.filters.http.jwt_authn}", "{name: envoy.filters.http.jwt_authn, after: envoy.filters.http.ext_authz}", CodeFilterOrder, "filterOrder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := read(t, tt.file)
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%s has no %q", tt.file, tt.old)
			}
			mustFind(t, tt.file, strings.Replace(good, tt.old, tt.new, 1), tt.code, tt.at)
		})
	}
	t.Run("jwt_authn behind ext_authz", func(t *testing.T) {
		good := read(t, edge)
		before, rest, _ := strings.Cut(good, "                  # begin jwt_authn\n")
		jwt, rest, _ := strings.Cut(rest, "                  # end jwt_authn\n")
		authz, after, ok := strings.Cut(rest, "                  # end ext_authz\n")
		if !ok {
			t.Fatalf("%s has lost its marks", edge)
		}
		mustFind(t, edge, before+authz+jwt+after, CodeFilterOrder, "name: envoy.filters.http.jwt_authn")
	})
}

// mustFind has the linter find one thing, in the line that holds a text.
func mustFind(t *testing.T, file, content string, code diag.Code, at string) {
	t.Helper()
	list := judge(file, content, nil)
	if len(list) != 1 || list[0].Code != code || !strings.Contains(list[0].Source, at) || list[0].Hint == "" {
		t.Errorf("want %s at %q, got:\n%s", code, at, list.Render())
	}
}

// Every code is provoked by a case, is in the catalogue with its severity, and
// has a page.
func TestEveryCodeIsTested(t *testing.T) {
	pages, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	var provoked []diag.Code
	for _, file := range glob(t, "testdata/*.yaml") {
		for _, c := range diagtest.Read(t, file) {
			provoked = append(provoked, c.Codes()...)
		}
	}
	declared := regexp.MustCompile(`diag\.Code = "([a-z-]+)"`).FindAllStringSubmatch(read(t, "codes.go"), -1)
	if len(declared) < 60 {
		t.Fatalf("only %d codes were found", len(declared))
	}
	for _, m := range declared {
		code := diag.Code(m[1])
		if !slices.Contains(provoked, code) {
			t.Errorf("no case provokes %s", code)
		}
		e, ok := pages.Entry(code)
		if !ok || e.Group != "envoy" || (e.Severity == diag.Warning) != isWarning(code) {
			t.Errorf("%s: the catalogue has %v %s %s", code, ok, e.Group, e.Severity)
		}
	}
}

// What holds in one file alone is held against the other files of a run.
func TestFilesTogether(t *testing.T) {
	mesh, rest, _ := strings.Cut(read(t, "testdata/good/istio.yaml"), "---\n")
	policy := strings.Replace(rest, "provider: {name: edict}", "provider: {name: edicts}", 1)
	list := Lint([]File{{"mesh.yaml", []byte(mesh)}, {"policy.yaml", []byte(policy)}}, Options{}).Findings
	if len(list) != 1 || list[0].Code != CodeIstioUnknownProvider || list[0].Pos.File != "policy.yaml" || list[0].Hint != `did you mean "edict"?` {
		t.Errorf("got:\n%s", list.Render())
	}
	if list := judge("policy.yaml", policy, nil); len(list) > 0 {
		t.Errorf("a policy alone is blamed for a provider that is elsewhere:\n%s", list.Render())
	}
}

// A file that a ConfigMap holds is judged, with the places of the ConfigMap.
func TestConfigMap(t *testing.T) {
	const content = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: "networks: {}"
  mesh: |
    extensionProviders:
      - name: edict
        envoyExtAuthzGrpc:
          service: edict.edict.svc.cluster.local
          port: 9001
          timeout: 0.2s
          failOpen: true
          statusOnError: "503"
    pathNormalization: {normalization: MERGE_SLASHES}
`
	list := judge("mesh.yaml", content, nil)
	if len(list) != 1 || list[0].Code != CodeFailOpen || list[0].Pos.Line != 14 || list[0].Pos.Column != 11 || !strings.Contains(list[0].Source, "failOpen: true") {
		t.Errorf("got:\n%s", list.Render())
	}
}

// What can't be understood is told, and never passes for clean.
func TestUnreadable(t *testing.T) {
	for name, tt := range map[string]struct {
		content    string
		unreadable bool
		judged     int
	}{
		"empty":            {"", false, 0},
		"no YAML":          {"a: [", true, 0},
		"unknown":          {"a: b", true, 0},
		"a list":           {"[1, 2]", true, 0},
		"a text":           {"hello", true, 0},
		"another object":   {"{apiVersion: apps/v1, kind: Deployment}", false, 0},
		"a repeated key":   {"name: edict\nconnect_timeout: 1s\nname: other\n", true, 1},
		"another policy":   {"{apiVersion: example.com/v1, kind: SecurityPolicy}", false, 0},
		"one of two":       {"a: b\n---\n{apiVersion: security.istio.io/v1, kind: PeerAuthentication}", true, 1},
		"an empty policy":  {"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, spec: {action: CUSTOM}}", false, 1},
		"an unknown @type": {`{"@type": type.googleapis.com/acme.Thing}`, true, 0},
	} {
		result := Lint([]File{{"f.yaml", []byte(tt.content)}}, Options{})
		if result.Unreadable != tt.unreadable || result.Judged != tt.judged {
			t.Errorf("%s: unreadable %v, %d judged\n%s", name, result.Unreadable, result.Judged, result.Findings.Render())
		}
		if tt.unreadable && result.Findings.Count(diag.Error) == 0 {
			t.Errorf("%s: nothing says why", name)
		}
	}
}

// No file makes the linter panic, and every finding has a place in a file.
func FuzzLint(f *testing.F) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte(`{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": {"filter_chains": [{"filters": [{}]}]}}}]}]}`))
	f.Add([]byte("resources: [{\"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, virtual_hosts: [{routes: [{match: {prefix: /}}]}]}]"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\ndata: {mesh: \"extensionProviders: [{name: a, envoyExtAuthzGrpc: {}}]\"}"))
	needs := &extauthz.Needs{Claims: []extauthz.Claims{{Namespace: jwtNamespace, Key: "jwt"}}, Namespaces: []string{jwtNamespace}, BodyRoutes: []string{"a/b"}}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, o := range []Options{{}, {Needs: needs}} {
			for _, d := range Lint([]File{{"f.yaml", content}}, o).Findings {
				if d.Pos.File != "f.yaml" || d.Pos.Line < 1 || d.Pos.Column < 1 || d.Code == "" {
					t.Errorf("%+v", d)
				}
			}
		}
	})
}
