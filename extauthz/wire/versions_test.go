package wire

import (
	"fmt"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A proxyModel is how some proxy applies OkHttpResponse.headers: what becomes of
// the values that a request has under the name of an option.
type proxyModel struct {
	name  string
	apply func(had []string, o *corev3.HeaderValueOption) []string
}

// byAppend heeds the older of the two fields alone.
func byAppend(had []string, o *corev3.HeaderValueOption) []string {
	v := o.GetHeader().GetValue()
	//lint:ignore SA1019 older versions heed no other field
	appends := o.GetAppend().GetValue()
	switch {
	case !appends:
		return []string{v}
	case len(had) == 0:
		return nil // nothing to append to, so the option is dropped
	}
	return append([]string{had[0] + "," + v}, had[1:]...)
}

// byAction heeds the newer alone, whose default is to add.
func byAction(had []string, o *corev3.HeaderValueOption) []string {
	v := o.GetHeader().GetValue()
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		return append(slices.Clone(had), v)
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		if len(had) > 0 {
			return had
		}
		return []string{v}
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return []string{v}
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		if len(had) > 0 {
			return []string{v}
		}
	}
	return had
}

// The versions of Envoy. That the last is right for 1.40 is shown on the real
// one by envoy/e2e, TestEnvoyAddsHeadersUpstream; the others are read from its
// changelogs.
var proxyModels = []proxyModel{
	{"Envoy up to 1.36", byAppend},
	{"Envoy 1.37.0", func(had []string, o *corev3.HeaderValueOption) []string {
		//lint:ignore SA1019 this version heeds it before the newer one
		if o.GetAppend() != nil {
			return byAppend(had, o)
		}
		return byAction(had, o)
	}},
	{"Envoy from 1.37.1", byAppend},
	{"a proxy that heeds append_action alone", byAction},
}

// applied gives the values that the upstream gets under a name.
func (m proxyModel) applied(ok *authv3.OkHttpResponse, name string, had []string) []string {
	for _, o := range ok.GetHeaders() {
		if o.GetHeader().GetKey() == name {
			had = m.apply(had, o)
		}
	}
	if slices.Contains(ok.GetHeadersToRemove(), name) {
		return nil
	}
	return had
}

// clients are what a client may have sent under the name of an identity header.
var clients = [][]string{nil, {"mallory"}, {"mallory", "root"}, {""}, {"alice"}}

// What an allow says of a header means "this value and no other", whichever
// version of Envoy reads it.
func TestHeadersMeanOverwriteInEveryVersion(t *testing.T) {
	const name = "x-edict-principal"
	prepared, ok := Prepare(&Allow{Headers: []HeaderValue{{Name: name, Value: "alice"}}})
	if !ok {
		t.Fatal("not prepared")
	}
	removed, ok := Prepare(&Allow{RemoveHeaders: []string{name}})
	if !ok {
		t.Fatal("not prepared")
	}
	for what, tt := range map[string]struct {
		allow Allow
		want  []string
	}{
		"set":              {Allow{Headers: []HeaderValue{{Name: name, Value: "alice"}}}, []string{"alice"}},
		"set beforehand":   {Allow{Prepared: prepared}, []string{"alice"}},
		"without a value":  {Allow{Headers: []HeaderValue{{Name: name}}}, nil},
		"removed":          {Allow{RemoveHeaders: []string{name}}, nil},
		"removed, earlier": {Allow{Prepared: removed}, nil},
	} {
		b, allowed := AppendAllowed(nil, &tt.allow)
		if !allowed {
			t.Fatalf("%s: not allowed", what)
		}
		var out authv3.CheckResponse
		if err := proto.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		for _, m := range proxyModels {
			for _, had := range clients {
				if got := m.applied(out.GetOkResponse(), name, had); !slices.Equal(got, tt.want) {
					t.Errorf("%s, %s, the client sent %q: the upstream gets %q, want %q", what, m.name, had, got, tt.want)
				}
			}
		}
	}
}

// Each of the other ways to write it goes wrong in one version at least, so
// that the models can tell.
func TestOtherOptionsDoNotMeanOverwriteInEveryVersion(t *testing.T) {
	const action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	for name, o := range map[string]*corev3.HeaderValueOption{
		"neither":                {},
		"append: false alone":    {Append: wrapperspb.Bool(false)},
		"append: true":           {Append: wrapperspb.Bool(true), AppendAction: action},
		"only if it exists":      {AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS},
		"only if it is absent":   {AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT},
		"false, only if present": {Append: wrapperspb.Bool(false), AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS},
	} {
		o.Header = &corev3.HeaderValue{Key: "x", Value: "alice"}
		var wrong []string
		for _, m := range proxyModels {
			for _, had := range clients {
				if got := m.apply(had, o); !slices.Equal(got, []string{"alice"}) {
					wrong = append(wrong, fmt.Sprintf("%s: %q", m.name, got))
				}
			}
		}
		if len(wrong) == 0 {
			t.Errorf("%s: means overwrite in every model, which can't be", name)
		}
	}
}
