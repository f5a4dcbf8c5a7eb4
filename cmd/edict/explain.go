package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/envoycheck"
	"edict/cmd/edict/internal/request"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/explanation"
	"edict/engine/folder"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
	"edict/extauthz/routemap"
)

// explainFlags are the flags of `edict explain`.
type explainFlags struct {
	config   string
	sets     []string
	policies string
	routes   string
	check    string // file with an Envoy CheckRequest

	asked requestFlags
	now   string

	format       string
	flip, noFlip bool
	alternatives int
	exitCode     bool

	colorFlags
}

// explainFormats are the words that --format takes.
var explainFormats = [...]string{"text", "json"}

// newExplain is `edict explain`, which says why a request is allowed or denied.
func newExplain(environ []string, stderr io.Writer) *cobra.Command {
	var o explainFlags
	c := &cobra.Command{
		Use:   "explain [FILE]",
		Short: "Say why a request is allowed or denied, and what would turn that around",
		Long: "Explain decides one request as `edict serve` would, and says how the decision came about: which rule\n" +
			"decided, which others were looked at, and what their conditions came to. For what is denied it looks\n" +
			"for the smallest change to the request that would allow it.\n\n" +
			"The request is a file (or - for standard input) with an entry {principal, resource, actions, auxData}\n" +
			"or a whole CheckResources request, in YAML or JSON; or the flags from --principal on; or, with\n" +
			"--check-request, an Envoy CheckRequest in JSON, which is mapped by the route maps first.\n" +
			"It ends with 0 whether the request is allowed or denied, unless --exit-code is given.",
		Example: "  edict explain request.yaml\n" +
			"  edict explain --principal alice --role employee --resource expense:17 --action approve \\\n" +
			"    --resource-attr amount=1200 --resource-attr 'ownerId=\"bob\"'\n" +
			"  edict explain --check-request check.json --routes routes --format json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("`%s` takes one file, got also %q", c.CommandPath(), args[1])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			defer func() {
				// No file that anybody writes may make the exit status lie.
				if p := recover(); p != nil {
					fmt.Fprintf(stderr, "%s", debug.Stack())
					err = statusError{exitFailure, fmt.Errorf("explaining panicked: %v", p)}
				}
			}()
			e := &explainRun{explainFlags: o, in: c.InOrStdin(), out: c.OutOrStdout(), stderr: stderr}
			if err := e.prepare(c.Flags(), environ, args); err != nil {
				return err
			}
			return e.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "configuration file (YAML), for what changes decisions")
	f.StringArrayVar(&o.sets, "set", nil, "set one key, as in --set engine.strictEvaluation=false; may be repeated")
	f.StringVar(&o.policies, "policies", "", "folder of the policies; by default policies.dir of the configuration")
	f.StringVar(&o.routes, "routes", "", "folder of the route maps, for --check-request; by default routes.dir of the configuration")
	f.StringVar(&o.check, "check-request", "", "file with an Envoy CheckRequest in JSON, or - for standard input")
	o.asked.add(f)
	f.StringVar(&o.now, "now", "", "instant that now() gives, as in 2026-03-02T10:00:00Z; by default the present")
	f.StringVar(&o.format, "format", "text", "text or json")
	f.BoolVar(&o.flip, "flip", false, "say of what is allowed, too, which change would deny it")
	f.BoolVar(&o.noFlip, "no-flip", false, "do not look for changes that would turn the decision around")
	f.IntVar(&o.alternatives, "alternatives", 0, "show up to this many other changes, too")
	f.BoolVar(&o.exitCode, "exit-code", false, "end with 5 if something is denied")
	o.colorFlags.add(f)
	return c
}

// An explainRun is one run of `edict explain`.
type explainRun struct {
	explainFlags
	in          io.Reader
	out, stderr io.Writer

	cfg     *config.Config
	inColor bool
	claimed bool   // the claims of the check's token are given, so that no keys are needed
	file    string // of the request; empty: it is given by flags
	instant time.Time
}

// prepare checks the flags, and reads the configuration.
func (e *explainRun) prepare(flags *pflag.FlagSet, environ, args []string) error {
	for _, name := range []string{"config", "policies", "routes", "check-request"} {
		if flags.Changed(name) && flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s needs a name", name)
		}
	}
	switch byFlags := e.asked.given(flags); {
	case len(args) > 0 && e.check != "":
		return errors.New("give either a request or --check-request")
	case byFlags != "" && (len(args) > 0 || e.check != ""):
		return fmt.Errorf("--%s does not go together with a file", byFlags)
	case len(args) > 0:
		e.file = args[0]
	case byFlags == "" && e.check == "":
		return errors.New("no request was given: name a file, or - for standard input, or use --principal, --role, --resource and --action")
	}
	if e.routes != "" && e.check == "" {
		return errors.New("--routes is of use only with --check-request")
	}
	if e.now != "" && e.check != "" {
		return errors.New("--now does not go together with --check-request: routes are matched at the present")
	}
	if e.alternatives < 0 || e.alternatives > 100 {
		return fmt.Errorf("--alternatives is a number from 0 to 100, got %d", e.alternatives)
	}
	return e.settle(environ)
}

// settle checks the flags that `edict check` has, too, and reads the
// configuration.
func (e *explainRun) settle(environ []string) error {
	if !slices.Contains(explainFormats[:], e.format) {
		return suggest(fmt.Errorf("there is no format %q", e.format), e.format, explainFormats[:])
	}
	if err := e.colorFlags.check(); err != nil {
		return err
	}
	if e.flip && e.noFlip {
		return errors.New("--flip and --no-flip do not go together")
	}
	e.instant = time.Now()
	if e.now != "" {
		at, err := time.Parse(time.RFC3339Nano, e.now)
		if err != nil {
			return fmt.Errorf("--now: %q is not an instant such as 2026-03-02T10:00:00Z", e.now)
		}
		e.instant = at
	}
	cfg, err := loadSettings(e.config, environ, e.sets, e.stderr)
	if err != nil {
		return err
	}
	e.cfg = cfg
	e.policies = cleaned(cmp.Or(e.policies, cfg.PoliciesDir))
	e.routes = cleaned(cmp.Or(e.routes, cfg.RoutesDir))
	e.inColor = e.colored(e.out, environ)
	return nil
}

func cleaned(dir string) string { return filepath.ToSlash(filepath.Clean(dir)) }

func (e *explainRun) run(ctx context.Context) error {
	var documents []*explanation.Document
	if e.check != "" {
		explained, err := e.explainCheck(ctx)
		if err != nil {
			return err
		}
		documents = explained
	} else {
		requests, err := e.requests(ctx)
		if err != nil {
			return err
		}
		set, err := e.compile()
		if err != nil {
			return err
		}
		for _, r := range requests {
			documents = append(documents, e.document(set, r))
		}
	}
	var err error
	if e.format == "json" {
		err = explanation.JSON(e.out, documents)
	} else {
		err = explanation.Text(e.out, documents, explanation.TextOptions{Color: e.inColor})
	}
	switch {
	case err != nil:
		return statusError{exitFailure, err}
	case e.exitCode && slices.ContainsFunc(documents, denied):
		return statusError{exitGate, errors.New("something is denied")}
	}
	return nil
}

// denied tells whether a document tells of a denial.
func denied(d *explanation.Document) bool {
	if d.Check != nil && d.Check.Outcome != extauthz.Allowed.String() {
		return d.Check.Outcome != extauthz.Public.String() && d.Check.Outcome != extauthz.Planned.String()
	}
	return len(d.Actions) == 0 || slices.ContainsFunc(d.Actions, func(a explanation.Action) bool { return a.Effect != engine.Allow.String() })
}

// flipTime bounds the search for changes, for each action. It takes some
// milliseconds with conditions as people write them.
const flipTime = 10 * time.Second

// document explains a request.
func (e *explainRun) document(set *engine.PolicySet, r *engine.Request) *explanation.Document {
	told := set.Explain(r)
	searches := make([]*engine.FlipSearch, len(told.Actions))
	for i := range told.Actions {
		result := &told.Actions[i].Result
		if e.noFlip || result.Allowed() && !e.flip {
			continue
		}
		searches[i] = set.Flips(r, result.Action, engine.FlipLimits{Flips: 1 + e.alternatives, Time: flipTime})
	}
	return explanation.New(set, r, told, searches)
}

// requests gives the requests of the file, or that of the flags.
func (e *explainRun) requests(ctx context.Context) ([]*engine.Request, error) {
	if e.file == "" {
		r, err := e.asked.request()
		if err != nil {
			return nil, err
		}
		r.Now = e.instant
		return []*engine.Request{r}, nil
	}
	name, content, err := readInput(e.in, e.file)
	if err != nil {
		return nil, err
	}
	requests, tokens, list := request.Read(name, content, request.Options{Tokens: true})
	if len(list) > 0 {
		fmt.Fprint(e.stderr, list.Render())
		return nil, statusError{exitUsage, errors.New("the request can't be read")}
	}
	aux, err := e.verify(ctx, tokens)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		if aux != nil {
			r.AuxData = *aux
		}
		r.Now = e.instant
	}
	return requests, nil
}

// verify verifies the tokens of a request, if it has any, with the key sets of
// the configuration.
func (e *explainRun) verify(ctx context.Context, t *request.Tokens) (*engine.AuxData, error) {
	if t == nil {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := e.cfg.AuxData
	options.Now = func() time.Time { return e.instant }
	verifier, err := auxdata.New(ctx, options)
	if err != nil {
		return nil, statusError{exitUsage, fmt.Errorf("auxData.jwt: %w", err)}
	}
	data, err := verifier.All(ctx, t.JWT, t.JWTs)
	if err != nil {
		// Whoever explains a request has the token, and may know why it is
		// refused.
		reason := err
		var refused *auxdata.Error
		if errors.As(err, &refused) {
			reason = refused.Reason
		}
		return nil, statusError{exitUsage, fmt.Errorf("the request would be refused before any policy is asked: its token is not valid: %w; give the claims in place of the token to go on without it", reason)}
	}
	return &data, nil
}

// uncompiled tells what is wrong with the policies and routes.
func (e *explainRun) uncompiled(list diag.List, what string) error {
	fmt.Fprint(e.stderr, diag.Style{Severities: true}.Render(list.Sorted()))
	return statusError{exitUncompiled, fmt.Errorf("%s do not compile, so there is nothing to explain", what)}
}

// compile compiles the policies alone.
func (e *explainRun) compile() (*engine.PolicySet, error) {
	p, err := e.readPolicies()
	if err != nil {
		return nil, err
	}
	if len(p.broken) > 0 {
		return nil, e.uncompiled(p.broken, "the policies")
	}
	set, list, err := p.compile(e.cfg.Engine())
	switch {
	case err != nil:
		return nil, statusError{exitUsage, err}
	case set == nil:
		return nil, e.uncompiled(list, "the policies")
	}
	return set, nil
}

// readPolicies reads the policies, with the schemas if they are enforced.
func (e *explainRun) readPolicies() (*policyFiles, error) {
	return readPolicies(e.policies, e.cfg.SchemaEnforcement == engine.SchemaNone)
}

// explainCheck explains a CheckRequest of Envoy's, in a file.
func (e *explainRun) explainCheck(ctx context.Context) ([]*explanation.Document, error) {
	name, content, err := readInput(e.in, e.check)
	if err != nil {
		return nil, err
	}
	record, err := envoycheck.Read(content)
	if err != nil {
		return nil, statusError{exitUsage, fmt.Errorf("%s: %w", name, err)}
	}
	d, _, err := e.checked(ctx, record.Request)
	return d, err
}

// checked answers a CheckRequest, and explains the answer: by one document for
// each check of its route, and by one without a decision if the engine was not
// asked.
func (e *explainRun) checked(ctx context.Context, in *authv3.CheckRequest) ([]*explanation.Document, *extauthz.Explained, error) {
	encoded, err := proto.Marshal(in)
	if err != nil {
		return nil, nil, statusError{exitUsage, fmt.Errorf("the check can't be encoded: %w", err)}
	}
	revision, routes, err := e.revision()
	if err != nil {
		return nil, nil, err
	}
	told := revision.Explain(ctx, encoded)
	about := explanation.Check{
		Outcome: told.Outcome.String(), Status: told.Outcome.Status(), Detail: told.Detail, Method: told.Method, Host: told.Host,
		Path: told.Path, Route: told.Route, At: placeOfRoute(routes, told.Route), Identity: told.Identity, Provenance: string(told.Provenance),
	}
	for _, a := range told.Attributes {
		about.Attributes = append(about.Attributes, explanation.FilledAttribute{Name: a.Name, Provenance: string(a.Provenance), Reads: a.Reads})
	}
	if told.Err != nil {
		about.Error = told.Err.Error()
	}
	if told.Plan != nil {
		return e.planned(revision, told, &about)
	}
	if len(told.Requests) == 0 {
		return []*explanation.Document{{Check: &about, Actions: []explanation.Action{}}}, told, nil
	}
	var documents []*explanation.Document
	for i, asked := range told.Requests {
		d, check := e.document(revision.PolicySet(), asked), about
		check.Actions = asked.Actions
		if len(told.Requests) > 1 {
			check.Question, check.Questions = i+1, len(told.Requests)
		}
		d.Check = &check
		documents = append(documents, d)
	}
	return documents, told, nil
}

// planned explains what a check came to whose route is planned.
func (e *explainRun) planned(revision *extauthz.Revision, told *extauthz.Explained, about *explanation.Check) ([]*explanation.Document, *extauthz.Explained, error) {
	answer, err := envoycheck.ReadAnswer(told.Answer)
	if err != nil {
		return nil, nil, statusError{exitFailure, err}
	}
	asked := told.Requests[0]
	about.Actions = asked.Actions
	about.Plan = &explanation.Plan{Kind: told.Plan.Filter.Kind.String(), Filter: told.Filter.String()}
	if token, ok := answer.Upstream(e.cfg.Checks.Filter.Header); ok {
		if about.Plan.Claims, err = filtertoken.Payload(token); err != nil {
			return nil, nil, statusError{exitFailure, err}
		}
	}
	d := explanation.New(revision.PolicySet(), asked, new(engine.Explanation), nil)
	d.Check = about
	return []*explanation.Document{d}, told, nil
}

// keysTimeout is how long to wait for the keys of issuers.
const keysTimeout = 10 * time.Second

// revision compiles policies and route maps, and gets the keys that the check's
// token may be verified with.
func (e *explainRun) revision() (*extauthz.Revision, []*routemap.File, error) {
	p, err := e.readPolicies()
	if err != nil {
		return nil, nil, err
	}
	fsys, missing := folder.Open(e.routes)
	if len(missing) > 0 {
		return nil, nil, statusError{exitUsage, missing}
	}
	files, more := folder.Read(fsys, e.routes, nil)
	routes, unparsed := routemap.ParseAll(files)
	const what = "the policies and routes"
	if list := slices.Concat(p.broken, more, unparsed); len(list) > 0 {
		return nil, nil, e.uncompiled(list, what)
	}
	checks := e.cfg.Checks
	checks.Assume = true
	if err := signForShow(e.cfg, &checks); err != nil {
		return nil, nil, err
	}
	c, err := extauthz.NewCompiler(e.cfg.Engine(), checks)
	if err != nil {
		return nil, nil, statusError{exitUsage, err}
	}
	if !e.claimed {
		ctx, enough := context.WithTimeout(context.Background(), keysTimeout)
		defer enough()
		go c.Run(ctx)
		c.Await(ctx)
	}
	revision, list := c.Compile("explained", p.sources.Policies, p.schemas, routes)
	if revision == nil {
		p.locate(list)
		return nil, nil, e.uncompiled(list, what)
	}
	return revision, routes, nil
}

// placeOfRoute finds where a route is written.
func placeOfRoute(files []*routemap.File, name string) *explanation.Place {
	for _, f := range files {
		for i := range f.Routes {
			r := &f.Routes[i]
			if strings.Join([]string{f.Name.Value, r.Name.Value}, "/") == name {
				return explanation.PlaceOf(r.Pos)
			}
		}
	}
	return nil
}
