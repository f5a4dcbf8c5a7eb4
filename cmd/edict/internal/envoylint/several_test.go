package envoylint

import (
	"strings"
	"testing"
)

// Where several filters have settings on a route, those that enforce count: one
// that is off is found behind another that is on, and one that only watches may
// be off.
func TestSeveralFilters(t *testing.T) {
	const edge = "testdata/good/bootstrap-edge.yaml"
	good := read(t, edge)
	begin, end := strings.Index(good, "                  - name: envoy.filters.http.ext_authz\n"), strings.Index(good, "                  # end ext_authz")
	if begin < 0 || end < 0 {
		t.Fatal("the filter is not there")
	}
	const shadow = "                  - name: watching\n"
	watching := strings.Replace(good[begin:end], "                  - name: envoy.filters.http.ext_authz\n", shadow, 1)
	watching = strings.Replace(watching, "failure_mode_allow: false", "failure_mode_allow: false\n                      shadow_mode: true", 1)
	watching = strings.Replace(watching, "allow_expression: {regex: \"^(x-edict-[a-z0-9-]+|authorization)$\"}", "", 1)
	both := good[:begin] + watching + good[begin:]
	const settings = `check_settings: {context_extensions: {body_limit: "16384"}}`
	for _, tt := range []struct {
		watching, enforcing string
		found               bool
	}{
		{`check_settings: {}`, settings, false},
		{`disabled: true`, settings, false},
		{`check_settings: {context_extensions: {a: b}}`, `disabled: true`, true},
	} {
		i := strings.Index(both, settings)
		at := strings.LastIndex(both[:i], "envoy.filters.http.ext_authz:")
		indent := both[strings.LastIndexByte(both[:at], '\n')+1 : at]
		own := "watching:\n" + indent + "  \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n" + indent + "  " + tt.watching + "\n" + indent
		changed := both[:at] + own + both[at:i] + tt.enforcing + both[i+len(settings):]
		list := judge(edge, changed, nil)
		found := false
		for _, d := range list {
			found = found || d.Code == CodeFilterDisabled || d.Code == CodeSubtreeDisabled
		}
		if found != tt.found {
			t.Errorf("%s beside %s: %s", tt.watching, tt.enforcing, list.Render())
		}
	}
}
