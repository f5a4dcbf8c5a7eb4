package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/claims"
	"edict/extauthz/token"
)

// What an issuer is given where the configuration does not say.
const (
	defaultClockSkew = 30 * time.Second
	defaultMaxStale  = 24 * time.Hour
)

// mappingFields are the fields that say what claims mean.
var mappingFields = []string{"id", "roles", "defaultRoles", "roleMap", "allowedRoles", "attributes"}

func jwtMetadata(n yamldoc.Node) *extauthz.JWTMetadata {
	m := new(extauthz.JWTMetadata)
	o, ok := n.Object(append([]string{"namespace", "key", "failureKey"}, mappingFields...)...)
	if !ok {
		return m
	}
	field(o, "namespace", &m.Namespace)
	field(o, "failureKey", &m.FailureKey)
	m.Keys = oneOrMore(o, "key", nil)
	m.Claims = mapping(o, claims.Mapping{})
	return m
}

func jwt(n yamldoc.Node) *extauthz.JWT {
	j := new(extauthz.JWT)
	o, ok := n.Object(append([]string{"from", "issuers", "forward"}, mappingFields...)...)
	if !ok {
		return j
	}
	base := mapping(o, claims.Mapping{})
	if n, ok := o.Field("from"); ok {
		list, _ := n.List()
		for _, n := range list {
			j.From = append(j.From, tokenPlace(n))
		}
		if len(list) == 0 && n.IsSequence() {
			n.Report(CodeBadValue, "no place is named, so no token would be found", "leave from out to take tokens from the header authorization")
		}
	}
	forward := true
	if n, ok := o.Field("forward"); ok {
		if forward, ok = n.Bool(); ok && !forward && slices.ContainsFunc(j.From, func(p extauthz.TokenPlace) bool { return p.Cookie != "" }) {
			n.Report(CodeBadValue, "a token can't be taken out of a cookie on the way to the upstream", "remove forward, or take tokens from headers and parameters alone")
		}
	}
	j.Strip = !forward
	if n, ok := o.Required("issuers"); ok {
		list, _ := n.List()
		if len(list) == 0 && n.IsSequence() {
			n.Report(CodeBadValue, "no issuer is named, so no token would be believed", "name the issuer of the tokens, with its audiences and keys")
		}
		named := map[string]diag.Position{}
		for _, n := range list {
			j.Issuers = append(j.Issuers, issuer(n, base, named))
		}
	}
	return j
}

// plainName is what the name of a cookie or parameter with a token may be.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.~-]+$`)

// word is what may stand in front of a token in a header.
var word = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`)

func tokenPlace(n yamldoc.Node) (p extauthz.TokenPlace) {
	o, ok := n.Object("header", "prefix", "cookie", "query")
	if !ok {
		return p
	}
	name, n, ok := o.OneOf("header", "cookie", "query")
	if !ok {
		return p
	}
	if prefix, given := o.Field("prefix"); given {
		t, ok := prefix.NonEmptyText()
		switch {
		case ok && name != "header":
			prefix.Report(CodeBadValue, "a prefix is for headers alone", "remove prefix")
		case ok && !word.MatchString(t.Value):
			prefix.Report(CodeBadValue, fmt.Sprintf("%q is not one word", t.Value), "write the word alone, like Bearer; the space behind it is understood")
		}
		p.Prefix = t.Value
	}
	t, ok := n.NonEmptyText()
	switch {
	case !ok:
	case name == "header":
		switch {
		case !isHeader(n, t.Value):
		case strings.HasPrefix(t.Value, "x-edict-"):
			n.Report(CodeBadValue, fmt.Sprintf("%q is a name of Edict's own headers, which the proxy removes from what clients send", t.Value), "name another header, like "+strings.Replace(t.Value, "x-edict-", "x-", 1))
		default:
			p.Header = t.Value
		}
		if p.Header == "authorization" && p.Prefix == "" {
			p.Prefix = "Bearer"
		}
	case !plainName.MatchString(t.Value):
		n.Report(CodeBadValue, fmt.Sprintf("the name %q can be spelled in more than one way", t.Value), "use letters, digits, -, _, . and ~")
	case name == "cookie":
		p.Cookie = t.Value
	default:
		p.Query = t.Value
	}
	return p
}

func issuer(n yamldoc.Node, base claims.Mapping, named map[string]diag.Position) (i extauthz.JWTIssuer) {
	o, ok := n.Object(append([]string{"issuer", "audiences", "audienceClaim", "keys", "algorithms", "types", "require",
		"clockSkew", "maxLifetime", "allowNoExpiry"}, mappingFields...)...)
	if !ok {
		return i
	}
	i.Claims = mapping(o, base)
	if n, ok := o.Required("issuer"); ok {
		if t, ok := n.NonEmptyText(); ok {
			if first, repeated := named[t.Value]; repeated {
				n.ReportRelated(CodeBadValue, fmt.Sprintf("there are two issuers %q", t.Value), "name each once, with all of its audiences",
					diag.Related{Pos: first, Message: "the first one"})
			}
			named[t.Value] = t.Pos
			i.Issuer.Issuer = t.Value
		}
	}
	if n, ok := o.Required("audiences"); ok {
		i.Audiences = oneOrMore(o, "audiences", nil)
		if len(i.Audiences) == 0 && n.IsSequence() {
			n.Report(CodeBadValue, "no audience is named, so no token would be believed", "name whom the tokens are for: what they say in aud")
		}
	}
	field(o, "audienceClaim", &i.AudienceClaim)
	if n, ok := o.Required("keys"); ok {
		i.Keys = issuerKeys(n, i.Issuer.Issuer)
	}
	if n, ok := o.Field("algorithms"); ok {
		list, _ := n.List()
		for _, n := range list {
			if name, ok := n.Enum(token.Algorithms()...); ok {
				i.Algorithms = append(i.Algorithms, name)
			}
		}
	}
	for _, t := range oneOrMore(o, "types", nil) {
		if t == "none" { // a token without typ
			t = ""
		}
		i.Types = append(i.Types, t)
	}
	i.Require = textLists(o, "require")
	i.ClockSkew = defaultClockSkew
	span(o, "clockSkew", &i.ClockSkew)
	if n, ok := o.Field("clockSkew"); ok && i.ClockSkew > token.MaxClockSkew {
		n.Report(CodeBadValue, "clocks that are so far off let tokens live on for too long", fmt.Sprintf("write at most %s", token.MaxClockSkew))
	}
	span(o, "maxLifetime", &i.MaxLifetime)
	boolField(o, "allowNoExpiry", &i.AllowNoExpiry)
	if n, ok := o.Field("allowNoExpiry"); ok && i.AllowNoExpiry && i.MaxLifetime > 0 {
		n.Report(CodeBadValue, "a token without exp lives for longer than maxLifetime", "keep one of the two")
	}
	return i
}

// issuerKeys reads where the keys of an issuer are.
func issuerKeys(n yamldoc.Node, issuer string) (k token.Keys) {
	o, ok := n.Object("url", "discovery", "file", "inline", "refresh", "maxStale", "hosts", "allowHTTP")
	if !ok {
		return k
	}
	boolField(o, "allowHTTP", &k.AllowHTTP)
	name, at, ok := o.OneOf("url", "discovery", "file", "inline")
	if !ok {
		return k
	}
	sound := true
	if name == "discovery" {
		k.Discovery, sound = at.Bool()
		if sound && !k.Discovery {
			at.Report(CodeBadValue, "then the keys come from nowhere", "write discovery: true, or url, file or inline instead")
			sound = false
		}
	} else {
		var t diag.Text
		t, sound = at.NonEmptyText()
		*map[string]*string{"url": &k.URL, "file": &k.File, "inline": &k.Inline}[name] = t.Value
	}
	if name == "url" || name == "discovery" {
		k.MaxStale = defaultMaxStale
		span(o, "maxStale", &k.MaxStale)
		span(o, "refresh", &k.Refresh)
		if n, ok := o.Field("refresh"); ok && k.Refresh < time.Second {
			n.Report(CodeBadValue, "the interval is too short", "write at least 1s, or leave it out to follow the server's cache headers")
			sound = false
		}
		if n, ok := o.Field("maxStale"); ok && k.MaxStale < time.Second {
			n.Report(CodeBadValue, "then keys would be gone whenever the issuer is late to answer", "write at least 1s, or leave it out for a day")
			sound = false
		}
		k.Hosts = oneOrMore(o, "hosts", nil)
	} else {
		for _, other := range []string{"refresh", "maxStale", "hosts", "allowHTTP"} {
			if n, ok := o.Field(other); ok {
				n.Report(CodeBadValue, fmt.Sprintf("%s is for keys that are fetched", other), "remove it")
			}
		}
		k.AllowHTTP = false
	}
	if sound && issuer != "" {
		// The rest of an issuer that is sound, so that what is wrong is here.
		i := token.Issuer{Issuer: issuer, Audiences: []string{"x"}, Keys: k}
		if err := i.Validate(); err != nil {
			at.Report(CodeBadValue, "no keys can come from here: "+err.Error(), "")
		}
	}
	return k
}

// mapping reads what claims mean, where o does not say as base does.
func mapping(o yamldoc.Object, base claims.Mapping) claims.Mapping {
	m := base
	if _, ok := o.Field("id"); ok {
		m.ID = oneOrMore(o, "id", claims.CheckName)
	}
	if n, ok := o.Field("roles"); ok {
		m.Roles = nil
		list := []yamldoc.Node{n}
		if n.IsSequence() {
			list, _ = n.List()
		}
		if len(list) == 0 {
			n.Report(CodeBadValue, "no claim is named", "name one, or leave roles out")
		}
		for _, n := range list {
			m.Roles = append(m.Roles, rolesClaim(n))
		}
	}
	if _, ok := o.Field("defaultRoles"); ok {
		m.DefaultRoles = listOf(o, "defaultRoles")
	}
	if _, ok := o.Field("roleMap"); ok {
		m.RoleMap = textLists(o, "roleMap")
	}
	if _, ok := o.Field("allowedRoles"); ok {
		m.AllowedRoles = listOf(o, "allowedRoles")
		if m.AllowedRoles == nil {
			m.AllowedRoles = []string{}
		}
	}
	if n, ok := o.Field("attributes"); ok {
		entries, _ := n.Entries()
		m.Attributes = []claims.Attribute{}
		for _, e := range entries {
			m.Attributes = append(m.Attributes, claimAttribute(e))
		}
	}
	return m
}

func rolesClaim(n yamldoc.Node) (r claims.Roles) {
	if !n.IsMapping() {
		r.Claim = claimName(n)
		return r
	}
	o, ok := n.Object("claim", "separator", "stripPrefix", "addPrefix")
	if !ok {
		return r
	}
	if n, ok := o.Required("claim"); ok {
		r.Claim = claimName(n)
	}
	field(o, "separator", &r.Separator)
	field(o, "stripPrefix", &r.StripPrefix)
	field(o, "addPrefix", &r.AddPrefix)
	return r
}

func claimAttribute(e yamldoc.Entry) claims.Attribute {
	a := claims.Attribute{Name: e.Key.Value}
	if !e.Value.IsMapping() {
		a.Claim = claimName(e.Value)
		return a
	}
	o, ok := e.Value.Object("claim", "type", "required")
	if !ok {
		return a
	}
	if n, ok := o.Required("claim"); ok {
		a.Claim = claimName(n)
	}
	if n, ok := o.Field("type"); ok {
		t, _ := n.Enum(claims.Types()...)
		a.Type = claims.Type(t)
	}
	boolField(o, "required", &a.Required)
	return a
}

// claimName reads the name of a claim.
func claimName(n yamldoc.Node) string {
	t, ok := n.NonEmptyText()
	if ok {
		if err := claims.CheckName(t.Value); err != nil {
			n.Report(CodeBadValue, err.Error(), "")
		}
	}
	return t.Value
}

// oneOrMore reads a text or a list of texts, each of which check has to admit,
// if there is one.
func oneOrMore(o yamldoc.Object, name string, check func(string) error) (out []string) {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	list := []yamldoc.Node{n}
	if n.IsSequence() {
		list, _ = n.List()
	}
	for _, n := range list {
		t, ok := n.NonEmptyText()
		if !ok {
			continue
		}
		if check != nil {
			if err := check(t.Value); err != nil {
				n.Report(CodeBadValue, err.Error(), "")
			}
		}
		out = append(out, t.Value)
	}
	return out
}

// listOf reads a list of texts.
func listOf(o yamldoc.Object, name string) (out []string) {
	if n, ok := o.Field(name); ok {
		texts, _ := n.Texts()
		for _, t := range texts {
			out = append(out, t.Value)
		}
	}
	return out
}

// textLists reads a mapping of names to a text or a list of texts each.
func textLists(o yamldoc.Object, name string) map[string][]string {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	out := make(map[string][]string, len(entries))
	for _, e := range entries {
		list := []yamldoc.Node{e.Value}
		if e.Value.IsSequence() {
			list, _ = e.Value.List()
		}
		out[e.Key.Value] = nil
		for _, n := range list {
			if t, ok := n.NonEmptyText(); ok {
				out[e.Key.Value] = append(out[e.Key.Value], t.Value)
			}
		}
	}
	return out
}

// span reads a duration that can't be negative.
func span(o yamldoc.Object, name string, dst *time.Duration) {
	n, ok := o.Field(name)
	if !ok {
		return
	}
	switch d, ok := n.Duration(); {
	case ok && d < 0:
		n.Report(CodeBadValue, "a duration can't be negative here", "")
	case ok:
		*dst = d
	}
}
