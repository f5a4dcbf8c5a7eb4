package envoylint

import (
	"fmt"
	"strings"

	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz"
)

// A File is a file to judge.
type File struct {
	Name    string
	Content []byte
}

// Options say what is known beside the files.
type Options struct {
	// Needs is what Edict needs of the proxy. Nil: it is not known, and what
	// depends on it is judged by the files alone.
	Needs *extauthz.Needs
}

// A Result is what Lint found.
type Result struct {
	// Findings are in the order of the files.
	Findings diag.List

	// Unreadable tells that a file, or a document in it, could not be
	// understood. The findings say which.
	Unreadable bool

	// Judged counts the documents that say how Edict is asked.
	Judged int
}

// Lint judges files together: an Istio policy is held against the mesh
// configuration in another file. Each Envoy configuration is a file of its own.
func Lint(files []File, o Options) Result {
	l := &linter{needs: o.Needs, lines: map[string][]string{}}
	for _, f := range files {
		l.file(f)
	}
	l.mesh.check(l)
	l.gateway.check(l)
	l.silence()
	return Result{Findings: l.list.Sorted(), Unreadable: l.unreadable, Judged: l.judged}
}

// A linter is one run.
type linter struct {
	needs      *extauthz.Needs
	lines      map[string][]string // by file
	list       diag.List
	unreadable bool
	judged     int

	mesh    mesh
	gateway gateway
}

// file judges a file, or gathers what has to be seen together with others.
func (l *linter) file(f File) {
	doc := yamldoc.ParseStream(f.Name, f.Content)
	l.lines[f.Name] = doc.Lines()
	var roots []*node
	for _, root := range doc.Roots() {
		if n := build(root, root.Pos()); n != nil {
			roots = append(roots, n)
		}
	}
	if problems := doc.Diagnostics(); len(problems) > 0 {
		l.list = append(l.list, problems...)
		l.unreadable = true
	}
	proxy := l.newProxy()
	for _, root := range roots {
		l.document(proxy, root)
	}
	proxy.check()
}

// document finds out what a document is.
func (l *linter) document(p *proxy, n *node) {
	switch {
	case n.has("apiVersion") && n.has("kind"):
		l.object(n)
	case n.has("extensionProviders"), n.has("meshConfig"):
		l.meshConfig(n)
	case p.add(n):
		l.judged++
	default:
		l.unreadable = true
		l.report(n, CodeUnknownDocument, "this is no configuration of Envoy, Istio or Envoy Gateway that is known",
			"give a bootstrap, a config dump, a listener, route configuration, cluster or filter, or Kubernetes objects")
	}
}

// object takes a Kubernetes object. Those that say nothing of enforcement are
// passed over.
func (l *linter) object(n *node) {
	group, _, _ := strings.Cut(n.str("apiVersion"), "/")
	switch n.str("kind") {
	case "List":
		for _, item := range n.list("items") {
			l.object(item)
		}
		return
	case "IstioOperator":
		l.meshConfig(n.get("spec"))
		return
	case "ConfigMap":
		l.configMap(n)
		return
	case "Service":
		l.mesh.services = append(l.mesh.services, n)
		return
	case "ServiceEntry":
		l.mesh.entries = append(l.mesh.entries, n)
		return
	case "AuthorizationPolicy":
		l.mesh.policies = append(l.mesh.policies, n)
	case "PeerAuthentication":
		l.peerAuthentication(n)
	case "RequestAuthentication":
		l.mesh.requestAuthentications = append(l.mesh.requestAuthentications, n)
	case "EnvoyFilter":
		l.envoyFilter(n)
	case "SecurityPolicy":
		if group != gatewayGroup {
			return
		}
		l.gateway.policies = append(l.gateway.policies, n)
	case "EnvoyProxy":
		l.gateway.proxies = append(l.gateway.proxies, n)
	case "ClientTrafficPolicy":
		l.clientTrafficPolicy(n)
	default:
		return
	}
	l.judged++
}

// configMap judges the files that a ConfigMap may hold for the proxy: Istio's
// mesh configuration, or a bootstrap.
func (l *linter) configMap(n *node) {
	data := n.get("data")
	if data == nil {
		return
	}
	for _, name := range data.names {
		content := data.fields[name]
		inner := yamldoc.ParseStream(content.pos.File, []byte(content.text.Value))
		for _, root := range inner.Roots() {
			if !root.IsMapping() {
				continue
			}
			tree := build(root, root.Pos())
			relocate(tree, content.text)
			switch p := l.newProxy(); {
			case tree.has("extensionProviders") || name == "mesh" && n.str("metadata", "name") == "istio":
				l.meshConfig(tree)
			case tree.has("static_resources") && p.add(tree):
				l.judged++
				p.check()
			}
		}
	}
}

// relocate turns the places in a text into those of the file that holds it.
func relocate(n *node, text diag.Text) {
	if n == nil {
		return
	}
	n.pos = text.At(n.pos.Line, n.pos.Column)
	if n.scalar {
		n.text.Pos = text.At(n.text.Pos.Line, n.text.Pos.Column)
	}
	for _, child := range n.children() {
		relocate(child, text)
	}
}

// report adds a finding about a value.
func (l *linter) report(n *node, code diag.Code, message, hint string, related ...diag.Related) {
	d := diag.Diagnostic{Pos: n.pos, Code: code, Message: message, Hint: hint, Related: related}
	if isWarning(code) {
		d.Severity = diag.Warning
	}
	if lines := l.lines[n.pos.File]; n.pos.Line >= 1 && n.pos.Line <= len(lines) {
		d.Source = lines[n.pos.Line-1]
	}
	l.list = append(l.list, d)
}

// reportf is report with a message of parts.
func (l *linter) reportf(n *node, code diag.Code, hint, format string, args ...any) {
	l.report(n, code, fmt.Sprintf(format, args...), hint)
}

// at gives n, or the value that should have had it if n is not there.
func at(n, parent *node) *node {
	if n == nil {
		return parent
	}
	return n
}

// related names another place of a finding.
func related(n *node, message string) diag.Related {
	return diag.Related{Pos: n.pos, Message: message}
}
