package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edict/cmd/edict/internal/envoycheck"
	"edict/engine/explanation"
	"edict/extauthz"
)

// checkFlags are the flags of `edict check` beside those it shares with
// `edict explain`.
type checkFlags struct {
	file string // with a CheckRequest

	request  envoycheck.Request
	data     string
	claims   string
	token    string
	cert     string
	metadata []string
	route    []string
	context  []string

	short bool
}

// newCheck is `edict check`, which takes one request through mapping and
// policies.
func newCheck(environ []string, stderr io.Writer) *cobra.Command {
	var o checkFlags
	e := explainRun{stderr: stderr}
	c := &cobra.Command{
		Use:   "check [METHOD] TARGET",
		Short: "Take one HTTP request through routes and policies, and show the answer",
		Long: "Check answers one request as `edict serve` would answer Envoy: which route it takes, what the policies are asked,\n" +
			"what they decide and why, and what Envoy then does to the request or tells the client.\n\n" +
			"TARGET is a path with its query, or a URL; nothing in it is cleaned. The flags are those of curl where curl has\n" +
			"them. What Envoy adds to a request, such as the claims of a verified token, is given by flags of its own.\n" +
			"With --check-request the request comes from a file: one that `edict record` wrote, or a CheckRequest in JSON.\n" +
			"It ends with 0 whether the request is allowed or denied, unless --exit-code is given.",
		Example: "  edict check /expenses/emea/alice/1 --claims '{\"sub\": \"alice\", \"roles\": [\"employee\"]}'\n" +
			"  edict check POST /expenses -d '{\"region\": \"emea\", \"amount\": 12}' -H 'Host: api.example.com' --token \"$TOKEN\"\n" +
			"  edict check --check-request recorded/000001-deny.json --format json",
		RunE: func(c *cobra.Command, args []string) (err error) {
			defer func() {
				// No file that anybody writes may make the exit status lie.
				if p := recover(); p != nil {
					fmt.Fprintf(stderr, "%s", debug.Stack())
					err = statusError{exitFailure, fmt.Errorf("checking panicked: %v", p)}
				}
			}()
			e.in, e.out = c.InOrStdin(), c.OutOrStdout()
			return o.run(c.Context(), &e, c.Flags(), environ, args)
		},
	}
	f := c.Flags()
	f.StringVar(&e.config, "config", "", "configuration file (YAML), for identity and what else changes answers")
	f.StringArrayVar(&e.sets, "set", nil, "set one key; may be repeated")
	f.StringVar(&e.policies, "policies", "", "folder of the policies; by default policies.dir of the configuration")
	f.StringVar(&e.routes, "routes", "", "folder of the route maps; by default routes.dir of the configuration")
	f.StringVar(&o.file, "check-request", "", "file with a recorded check or a CheckRequest in JSON, or - for standard input")
	f.StringVarP(&o.request.Method, "request", "X", "", "method; by default GET, or POST with a body")
	f.StringArrayVarP(&o.request.Headers, "header", "H", nil, "header, as in 'Accept: text/html'; may be repeated")
	f.StringVarP(&o.data, "data", "d", "", "body; @FILE reads one")
	f.StringVar(&o.claims, "claims", "", "claims of a token that was verified, by Envoy or by Edict, as JSON; @FILE reads them")
	f.StringVar(&o.token, "token", "", "token that was verified: its claims are taken as they are, unverified here")
	f.StringVar(&o.request.Source, "source", "", "address of the client; by default 127.0.0.1")
	f.StringVar(&o.request.SourcePrincipal, "source-principal", "", "principal of the client's certificate, such as a SPIFFE id")
	f.StringVar(&o.cert, "source-certificate", "", "file with the client's certificate, in PEM")
	f.StringVar(&o.request.DestinationName, "destination-principal", "", "principal of Envoy's own certificate")
	f.StringVar(&o.request.SNI, "sni", "", "server name that the client asked for by TLS")
	f.StringArrayVar(&o.context, "context-extension", nil, "context extension, as in key=value; may be repeated")
	f.StringArrayVar(&o.metadata, "metadata", nil, "dynamic metadata, as in namespace={…}; may be repeated")
	f.StringArrayVar(&o.route, "route-metadata", nil, "metadata of Envoy's route, as in namespace={…}; may be repeated")
	f.StringVar(&e.format, "format", "text", "text or json")
	f.BoolVar(&o.short, "short", false, "show the answer alone, without the explanation")
	f.BoolVar(&e.flip, "flip", false, "say of what is allowed, too, which change would deny it")
	f.BoolVar(&e.noFlip, "no-flip", false, "do not look for changes that would turn the decision around")
	f.BoolVar(&e.exitCode, "exit-code", false, "end with 5 if the request is denied")
	e.colorFlags.add(f)
	return c
}

// The flags that say what a request is, so that they do not go together with a
// file that does.
var requestOnly = []string{"request", "header", "data", "claims", "token", "source", "source-principal", "source-certificate",
	"destination-principal", "sni", "context-extension", "metadata", "route-metadata"}

func (o *checkFlags) run(ctx context.Context, e *explainRun, flags *pflag.FlagSet, environ, args []string) error {
	e.check = "given" // so that routes are allowed
	if e.policies == "" && flags.Changed("policies") || e.routes == "" && flags.Changed("routes") {
		return errors.New("--policies and --routes need the name of a folder")
	}
	if err := e.settle(environ); err != nil {
		return err
	}
	in, redacted, err := o.read(e, flags, args)
	if err != nil {
		return err
	}
	if o.short {
		e.noFlip = true
	}
	documents, told, err := e.checked(ctx, in)
	if err != nil {
		return err
	}
	answer, err := envoycheck.ReadAnswer(told.Answer)
	if err != nil {
		return statusError{exitFailure, err}
	}
	if len(redacted) > 0 {
		fmt.Fprintf(e.stderr, "edict: what was recorded lacks %s, so the answer may differ from the one then\n", strings.Join(redacted, ", "))
	}
	if err := o.write(e, documents, told, answer); err != nil {
		return statusError{exitFailure, err}
	}
	if e.exitCode && !answer.Allowed {
		return statusError{exitGate, errors.New("the request is denied")}
	}
	return nil
}

// read gives the CheckRequest of the file or of the flags, and what a recorded
// one lacks.
func (o *checkFlags) read(e *explainRun, flags *pflag.FlagSet, args []string) (*authv3.CheckRequest, []string, error) {
	if flags.Changed("check-request") {
		if len(args) > 0 {
			return nil, nil, errors.New("give either a request or --check-request")
		}
		for _, name := range requestOnly {
			if flags.Changed(name) {
				return nil, nil, fmt.Errorf("--%s does not go together with --check-request", name)
			}
		}
		name, content, err := readInput(e.in, o.file)
		if err != nil {
			return nil, nil, err
		}
		r, err := envoycheck.Read(content)
		if err != nil {
			return nil, nil, statusError{exitUsage, fmt.Errorf("%s: %w", name, err)}
		}
		return r.Request, r.Redacted, nil
	}
	switch len(args) {
	case 0:
		return nil, nil, errors.New("no request was given: write [METHOD] TARGET, as in GET /orders/7, or use --check-request")
	case 1:
	case 2:
		if o.request.Method != "" {
			return nil, nil, errors.New("give the method either before the target or by --request")
		}
		o.request.Method, args = args[0], args[1:]
	default:
		return nil, nil, fmt.Errorf("a request is [METHOD] TARGET, got also %q", args[2])
	}
	o.request.Target = args[0]
	if err := o.fill(e); err != nil {
		return nil, nil, err
	}
	in, err := o.request.Message()
	return in, nil, err
}

// fill fills the request from flags that need reading.
func (o *checkFlags) fill(e *explainRun) error {
	body, err := textOrFile("data", o.data)
	if err != nil {
		return err
	}
	o.request.Body = body
	if o.cert != "" {
		_, pem, err := readInput(e.in, o.cert)
		if err != nil {
			return err
		}
		o.request.SourceCertificate = string(pem)
	}
	for _, kv := range o.context {
		name, text, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return fmt.Errorf("--context-extension: %q is not of the form key=value", kv)
		}
		if o.request.Extensions == nil {
			o.request.Extensions = map[string]string{}
		}
		o.request.Extensions[name] = text
	}
	if o.request.Metadata, err = namespaces("metadata", o.metadata); err != nil {
		return err
	}
	if o.request.RouteMetadata, err = namespaces("route-metadata", o.route); err != nil {
		return err
	}
	claims, err := o.verified()
	if err != nil || claims == nil {
		return err
	}
	namespace, key, ok := claimsPlace(e.cfg.Checks.Identity, "")
	if !ok {
		return errors.New("the configuration takes no claims of tokens: identity.sources has neither jwtMetadata nor jwt")
	}
	o.request.AddMetadata(namespace, key, claims)
	e.claimed = true
	return nil
}

// verified gives the claims that are to have been verified, nil if there are
// none.
func (o *checkFlags) verified() (map[string]any, error) {
	var text []byte
	switch {
	case o.claims != "" && o.token != "":
		return nil, errors.New("give either --claims or --token")
	case o.claims != "":
		var err error
		if text, err = textOrFile("claims", o.claims); err != nil {
			return nil, err
		}
	case o.token != "":
		m, err := jws.Parse([]byte(strings.TrimPrefix(strings.TrimSpace(o.token), "Bearer ")))
		if err != nil {
			return nil, errors.New("--token: this is not a signed token")
		}
		text = m.Payload()
	default:
		return nil, nil
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil || claims == nil {
		return nil, errors.New("the claims are not a JSON object, such as '{\"sub\": \"alice\"}'")
	}
	return claims, nil
}

// claimsPlace gives the namespace and key of metadata in which a source of
// tokens finds verified claims: the source of a name, or the first if that is
// empty. Those of a source that verifies tokens itself are assumed.
func claimsPlace(sources []extauthz.Source, name string) (namespace, key string, ok bool) {
	for _, s := range sources {
		switch m := s.JWTMetadata; {
		case m != nil && (name == "" || name == cmp.Or(s.Name, "jwtMetadata")):
			key := "jwt"
			if len(m.Keys) > 0 {
				key = m.Keys[0]
			}
			return cmp.Or(m.Namespace, "envoy.filters.http.jwt_authn"), key, true
		case s.JWT != nil && (name == "" || name == cmp.Or(s.Name, "jwt")):
			return extauthz.AssumedNamespace, cmp.Or(s.Name, "jwt"), true
		}
	}
	return "", "", false
}

// textOrFile gives what a flag says, or what is in the file that it names.
func textOrFile(flag, s string) ([]byte, error) {
	name, ok := strings.CutPrefix(s, "@")
	if !ok {
		return []byte(s), nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, statusError{exitUsage, fmt.Errorf("--%s: %w", flag, err)}
	}
	return content, nil
}

// namespaces reads metadata, each in the form namespace={…}.
func namespaces(flag string, list []string) (map[string]map[string]any, error) {
	out := map[string]map[string]any{}
	for _, s := range list {
		name, text, ok := strings.Cut(s, "=")
		var fields map[string]any
		if !ok || name == "" || json.Unmarshal([]byte(text), &fields) != nil || fields == nil {
			return nil, fmt.Errorf("--%s: %q is not of the form namespace={\"key\": …}", flag, s)
		}
		out[name] = fields
	}
	return out, nil
}

// write writes the answer and how it came about.
func (o *checkFlags) write(e *explainRun, documents []*explanation.Document, told *extauthz.Explained, a *envoycheck.Answer) error {
	if e.format == "json" {
		out := struct {
			Answer      *envoycheck.Answer      `json:"answer"`
			Explanation []*explanation.Document `json:"explanation,omitempty"`
		}{Answer: a, Explanation: documents}
		if o.short {
			out.Explanation = nil
		}
		j := json.NewEncoder(e.out)
		j.SetIndent("", "  ")
		j.SetEscapeHTML(false)
		return j.Encode(out)
	}
	if _, err := io.WriteString(e.out, answerText(told, a, e.cfg.Checks.Filter.Header, e.inColor)); err != nil || o.short {
		return err
	}
	if _, err := io.WriteString(e.out, "\n"); err != nil {
		return err
	}
	return explanation.Text(e.out, documents, explanation.TextOptions{Color: e.inColor})
}

// answerText shows an answer as Envoy carries it out. The filter is the header
// that filters are sent in.
func answerText(told *extauthz.Explained, a *envoycheck.Answer, filter string, color bool) string {
	var b strings.Builder
	verdict, paint := "allow", "\x1b[32m"
	if !a.Allowed {
		verdict, paint = fmt.Sprintf("deny, %d %s", a.Status, http.StatusText(a.Status)), "\x1b[31m"
	}
	if color {
		verdict = paint + verdict + "\x1b[0m"
	}
	fmt.Fprintf(&b, "%s: %s", strings.TrimSpace(printable(told.Method)+" "+printable(told.Path)), verdict)
	if told.Outcome != extauthz.Allowed {
		fmt.Fprintf(&b, " (%s)", told.Outcome)
	}
	b.WriteByte('\n')
	list := func(title, sign string, headers []envoycheck.Header) {
		for _, h := range headers {
			fmt.Fprintf(&b, "  %-10s %s %s: %s\n", title, sign, h.Name, printable(h.Value))
		}
	}
	upstream := slices.Clone(a.UpstreamHeaders)
	for i := range upstream {
		if told.Outcome == extauthz.Planned && upstream[i].Name == filter {
			upstream[i].Value = fmt.Sprintf("a token of %d bytes", len(upstream[i].Value)) // the explanation shows what it says
		}
	}
	list("upstream", "+", upstream)
	for _, name := range a.RemovedHeaders {
		fmt.Fprintf(&b, "  %-10s - %s\n", "upstream", name)
	}
	for _, q := range a.QuerySet {
		fmt.Fprintf(&b, "  %-10s + %s=%s\n", "query", q.Name, printable(q.Value))
	}
	for _, name := range a.QueryRemoved {
		fmt.Fprintf(&b, "  %-10s - %s\n", "query", name)
	}
	list("response", "+", a.ResponseHeaders)
	if a.Body != "" {
		fmt.Fprintf(&b, "  %-10s   %s\n", "body", printable(strings.TrimRight(a.Body, "\n")))
	}
	for _, key := range slices.Sorted(maps.Keys(a.Metadata)) {
		text, _ := json.Marshal(a.Metadata[key])
		fmt.Fprintf(&b, "  %-10s   %s: %s\n", "metadata", key, text)
	}
	return b.String()
}

// printable shows a text of a client without what would move a terminal or change
// the order in which text is read.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r)
	}) {
		return url.QueryEscape(s)
	}
	return s
}
