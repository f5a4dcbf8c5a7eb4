package config

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/spiffe"
	"edict/extauthz/xfcc"
)

func mtls(n yamldoc.Node) *extauthz.MTLS {
	m := new(extauthz.MTLS)
	if o, ok := n.Object("id", "trustDomains", "roles", "defaultRoles"); ok {
		workload(o, &m.Workload)
	}
	return m
}

func forwardedCert(n yamldoc.Node) *extauthz.XFCC {
	x := new(extauthz.XFCC)
	o, ok := n.Object("from", "hops", "by", "ignoreOthers", "id", "trustDomains", "roles", "defaultRoles")
	if !ok {
		return x
	}
	workload(o, &x.Workload)
	if n, ok := o.Required("from"); ok {
		if o, ok := n.Object("proxies", "addresses"); ok {
			x.Proxies = patterns(o, "proxies")
			x.Addresses = checked(o, "addresses", func(s string) error {
				_, err := extauthz.ParsePrefix(s)
				return err
			})
			if isEmpty(o, "proxies") && isEmpty(o, "addresses") {
				n.Report(CodeBadValue, "no proxy is named, so no header would be believed", "name the SPIFFE IDs under proxies, or address prefixes under addresses")
			}
		}
	}
	if n, ok := o.Field("hops"); ok {
		if i, ok := n.Int(); ok {
			if i < 1 || i > xfcc.MaxElements {
				n.Report(CodeBadValue, fmt.Sprintf("hops is a number from 1 to %d, counted from the right", xfcc.MaxElements), "write 1 for what the nearest proxy says")
			}
			x.Hops = i
		}
	}
	x.By = patterns(o, "by")
	boolField(o, "ignoreOthers", &x.IgnoreOthers)
	return x
}

// workload reads what mtls and xfcc have in common.
func workload(o yamldoc.Object, w *extauthz.Workload) {
	w.ID = extauthz.SPIFFEID
	if n, ok := o.Field("id"); ok {
		if t, ok := n.NonEmptyText(); ok {
			kinds := []string{string(extauthz.SPIFFEID), string(extauthz.DNSName), string(extauthz.CommonName)}
			if !slices.Contains(kinds, t.Value) {
				n.Report(CodeBadValue, fmt.Sprintf("%q is no part of a certificate that can be an id", t.Value), "write one of "+strings.Join(kinds, ", "))
			} else {
				w.ID = extauthz.CertificateID(t.Value)
			}
		}
	}
	w.TrustDomains = checked(o, "trustDomains", spiffe.CheckTrustDomain)
	switch n, given := o.Field("trustDomains"); {
	case w.ID == extauthz.SPIFFEID && !given:
		o.Required("trustDomains")
	case w.ID == extauthz.SPIFFEID && isEmpty(o, "trustDomains"):
		n.Report(CodeBadValue, "there are no trust domains, so nobody would be known", "name those whose SPIFFE IDs are taken")
	case w.ID != extauthz.SPIFFEID && given:
		n.Report(CodeBadValue, "only SPIFFE IDs have trust domains", fmt.Sprintf("remove it, or id: %s", w.ID))
	}
	w.DefaultRoles = plainTexts(o, "defaultRoles")
	n, ok := o.Field("roles")
	if !ok {
		return
	}
	list, _ := n.List()
	for _, n := range list {
		o, ok := n.Object("match", "roles")
		if !ok {
			continue
		}
		var r extauthz.WorkloadRoles
		if n, ok := o.Required("match"); ok {
			if t, ok := n.NonEmptyText(); ok {
				r.Match = t.Value
				if err := w.CheckMatch(t.Value); err != nil {
					n.Report(CodeBadValue, err.Error(), "")
				}
			}
		}
		if _, ok := o.Required("roles"); ok {
			r.Roles = plainTexts(o, "roles")
		}
		w.Roles = append(w.Roles, r)
	}
}

// isEmpty tells whether a list is not there, or has no members.
func isEmpty(o yamldoc.Object, name string) bool {
	n, ok := o.Field(name)
	if !ok {
		return true
	}
	entries, ok := n.List()
	return ok && len(entries) == 0
}

// patterns reads a list of patterns of SPIFFE IDs.
func patterns(o yamldoc.Object, name string) []string {
	return checked(o, name, func(s string) error {
		_, err := spiffe.ParsePattern(s)
		return err
	})
}

// checked reads a list of texts, and reports each that the check refuses.
func checked(o yamldoc.Object, name string, check func(string) error) []string {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	list, _ := n.Texts()
	var out []string
	for _, t := range list {
		if err := check(t.Value); err != nil {
			n.Document().Report(t.Pos, CodeBadValue, err.Error(), "")
		}
		out = append(out, t.Value)
	}
	return out
}

func plainTexts(o yamldoc.Object, name string) []string {
	return checked(o, name, func(string) error { return nil })
}
