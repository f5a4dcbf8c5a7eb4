package extauthz

import (
	"reflect"
	"testing"
)

func TestNeeds(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: albums
  principal:
    attributes: {agent: {expr: 'request.headers["user-agent"]'}}
  routes:
    - name: upload
      match: {methods: [POST], path: /albums}
      resource: {kind: album, id: new, attributes: {size: {expr: request.body.size}, tags: {expr: 'has(request.body.tags) ? 1 : 2'}}}
      action: upload
    - name: read
      match: {methods: [GET], path: "/albums/{id}"}
      resource:
        kind: {expr: 'request.routeMetadata["com.acme"].kind'}
        id: {expr: path.id}
        attributes:
          tenant: {expr: 'request.metadata["envoy.lb"].tenant'}
          sni: {expr: request.sni}
          zone: {expr: request.destination.labels.zone}
          peer: {expr: request.source.principal}
          issuer: {expr: request.source.certificate.issuer}
          theme: {expr: request.cookies.theme}
          langs: {expr: 'request.headerLists["accept-language"]'}
      accept: [encoded-slash]
      action: read
    - {name: list, match: {methods: [GET], path: /albums}, plan: true, resource: {kind: album}, action: list}
`
	o := jwtOnly
	o.BodyLimit = 100
	o.Filter.Header = "x-edict-filter"
	o.Identity = append(o.Identity, Source{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-groups"}})
	want := Needs{
		Claims:          []Claims{{"envoy.filters.http.jwt_authn", "jwt", "jwt_failure"}},
		Namespaces:      []string{"envoy.filters.http.jwt_authn", "envoy.lb"},
		RouteNamespaces: []string{"com.acme"},
		BodyRoutes:      []string{"albums/upload"}, BodyLimit: 100,
		PlannedRoutes: []string{"albums/list"},
		SNI:           true, Labels: true, Certificate: true, EncodedSlashes: true,
		Headers:         []string{"accept-language", "cookie", "user-agent", "x-groups", "x-user"},
		IdentityHeaders: []string{"x-groups", "x-user"},
		Upstream:        []string{"x-edict-filter", "x-edict-principal", "x-edict-roles", "x-groups", "x-user"},
		Set:             []string{"x-edict-filter", "x-edict-principal", "x-edict-roles"},
	}
	if got := compile(t, o, albumPolicy, routes).Needs(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNeedsOfWorkloads(t *testing.T) {
	roles := Workload{TrustDomains: []string{"example.org"}, Roles: []WorkloadRoles{{Match: "spiffe://example.org/ns/*/sa/*", Roles: []string{"user"}}}}
	o := Options{Identity: []Source{{MTLS: &MTLS{roles}}, {XFCC: &XFCC{Workload: roles, Addresses: []string{"10.0.0.0/8"}}}}}
	got := compile(t, o, albumPolicy, albumRoutes).Needs()
	if !got.Peer || got.Certificate || !reflect.DeepEqual(got.IdentityHeaders, []string{"x-forwarded-client-cert"}) {
		t.Errorf("got %+v", got)
	}
}

func TestNeedsOfAnswers(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: albums
  routes:
    - name: read
      match: {methods: [GET], path: "/albums/{id}"}
      resource: {kind: album, id: {expr: path.id}}
      action: read
      onAllow:
        headers:
          x-tenant: acme
          x-album: {expr: path.id}
          via: {value: edict, action: append}
          x-level: {value: low, action: overwriteIfExists}
          x-trace: {value: {expr: path.id}, action: addIfAbsent}
        removeHeaders: [x-debug]
`
	o := jwtOnly
	o.Identity = []Source{{JWTMetadata: &JWTMetadata{Keys: []string{"a", "b"}, FailureKey: "why"}}}
	got := compile(t, o, albumPolicy, routes).Needs()
	if want := []string{"via", "x-album", "x-debug", "x-edict-principal", "x-edict-roles", "x-level", "x-tenant", "x-trace"}; !reflect.DeepEqual(got.Upstream, want) {
		t.Errorf("got %q, want %q", got.Upstream, want)
	}
	if want := []string{"x-album", "x-edict-principal", "x-edict-roles", "x-tenant"}; !reflect.DeepEqual(got.Set, want) {
		t.Errorf("got %q, want %q", got.Set, want)
	}
	const ns = "envoy.filters.http.jwt_authn"
	if want := []Claims{{ns, "a", "why"}, {ns, "b", "why"}}; !reflect.DeepEqual(got.Claims, want) {
		t.Errorf("got %q, want %q", got.Claims, want)
	}
}

// What only a request tells is more than any list.
func TestNeedsOfTheUnknown(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: albums
  routes:
    - name: read
      match: {methods: [GET], path: "/albums/{id}"}
      resource:
        kind: album
        id: {expr: 'request.headers[path.id]'}
        attributes: {n: {expr: 'size(request.metadata)'}}
      action: read
`
	if got := compile(t, Options{}, albumPolicy, routes).Needs(); !got.AnyHeader || !got.AnyNamespace || len(got.Headers)+len(got.Namespaces) > 0 {
		t.Errorf("got %+v", got)
	}
}
