package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
)

const batchSize = 50

func main() {
	d := &differential{}
	var sets, parallel int
	flag.StringVar(&d.program, "cerbos", "", "the Cerbos `program`")
	flag.StringVar(&d.store, "store", "", "compare on the policies of this `folder`, instead of random ones")
	flag.Uint64Var(&d.seed, "seed", 20_240_501, "seed of the policies and requests")
	flag.IntVar(&sets, "sets", 500, "how many policy sets to compare on")
	flag.IntVar(&d.batches, "batches", 4, fmt.Sprintf("how many batches of %d requests per set", batchSize))
	flag.IntVar(&parallel, "parallel", 2, "how many servers to run at a time")
	flag.IntVar(&d.reported, "reported", 5, "stop after so many differences")
	plans := flag.Bool("plans", false, "compare plans, instead of decisions")
	only := flag.Int("only", -1, "compare on this set alone")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d.ctx = ctx

	start := time.Now()
	numbers := make(chan uint64)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			w := oracle.NewWorkshop()
			for n := range numbers {
				if !d.enough() {
					switch {
					case *plans:
						d.comparePlans(w, n)
					case d.store != "":
						d.compareStore(w, n)
					default:
						d.run(w, n)
					}
				}
			}
		})
	}
	if *only >= 0 {
		numbers <- uint64(*only)
	} else {
		for n := range sets {
			numbers <- uint64(n)
		}
	}
	close(numbers)
	workers.Wait()

	fmt.Printf("seed %d: %d requests on %d policy sets compared in %s; to %d more Cerbos had no answer, since it can't write one; %d differences\n",
		d.seed, d.compared, d.sets, time.Since(start).Round(time.Second), d.noJSON, d.differences)
	if *plans {
		fmt.Printf("plans were held against %d checks of resources; %d could not be, since CEL does not compile them\n", d.checked, d.unread)
	}
	for _, why := range slices.Sorted(maps.Keys(d.known)) {
		fmt.Printf("%7d %s\n", d.known[why], why)
	}
	if d.differences > 0 || d.compared == 0 || ctx.Err() != nil {
		os.Exit(1)
	}
}

// A differential is a run under way.
type differential struct {
	ctx               context.Context // done when the run is to end, and all servers with it
	program, store    string
	seed              uint64
	batches, reported int

	mu                     sync.Mutex
	sets, compared, noJSON int
	checked, unread        int // checks that plans were held against; plans that CEL can't read
	differences            int
	known                  map[string]int // differences of plans that are known
}

func (d *differential) enough() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.differences >= d.reported || d.ctx.Err() != nil
}

// run compares on one policy set.
func (d *differential) run(w *oracle.Workshop, n uint64) {
	g := oracle.NewGenerator(d.seed, n)
	g.Portable = true
	g.Try(w)
	d.compare(w, n, g.Set(), g.Batch)
}

// compareStore compares on a folder of policies.
func (d *differential) compareStore(w *oracle.Workshop, n uint64) {
	s, err := readStore(d.store, d.seed, n)
	if err != nil {
		d.report(n, oracle.Case{Set: &oracle.Set{}, Request: &engine.Request{}}, err.Error(), nil)
		return
	}
	d.compare(w, n, s.set(), func(_ *oracle.Set, size int) []*engine.Request { return s.batch(size) })
}

// compare sends batches of requests to Cerbos, the reference and the engine.
func (d *differential) compare(w *oracle.Workshop, n uint64, set *oracle.Set, batch func(*oracle.Set, int) []*engine.Request) {
	server, err := startCerbos(d.ctx, d.program, set)
	if err != nil {
		d.report(n, oracle.Case{Set: set, Request: &engine.Request{}}, err.Error()+"\n", nil)
		return
	}
	defer server.stop()
	ref := newReference(w, set)
	decider, err := newDecider(set)
	if err != nil {
		d.report(n, oracle.Case{Set: set, Request: &engine.Request{}}, "the engine refuses what Cerbos takes: "+err.Error(), nil)
		return
	}
	compared, noJSON := 0, 0
	defer func() { d.count(compared, noJSON) }()
	for range d.batches {
		if d.enough() {
			return
		}
		requests := batch(set, batchSize)
		for _, req := range requests {
			req.Now = time.Now()
		}
		answers := map[*engine.Request]*answer{}
		if got, err := server.check(requests); err == nil {
			for i, req := range requests {
				answers[req] = got[i]
			}
		} else {
			for _, req := range requests {
				switch got, err := server.check([]*engine.Request{req}); {
				case err == nil:
					answers[req] = got[0]
				case errors.Is(err, errNoJSON):
					noJSON++
				default:
					d.report(n, oracle.Case{Set: set, Request: req}, err.Error(), nil)
				}
			}
		}
		for _, req := range requests {
			got := answers[req]
			if got == nil {
				continue
			}
			c := oracle.Case{Set: set, Request: req}
			if want, ok := ref.agrees(req, got); !ok {
				d.report(n, c, fmt.Sprintf("Cerbos:\n%s\nreference:\n%s\n", got, want), d.referenceDiffers)
				return
			}
			compared++
			mine, want := decider.decide(req), answerOf(ref.plain, req)
			what, differs := "", engineDiffers
			switch {
			case mine.String() != want.String():
				what = fmt.Sprintf("engine:\n%s\nreference:\n%s\n", mine, want)
			case !slices.Equal(mine.failures, got.failures):
				what = fmt.Sprintf("schemas, engine:\n%s\nCerbos:\n%s\n", strings.Join(mine.failures, "\n"), strings.Join(got.failures, "\n"))
				differs = nil
			default:
				continue
			}
			d.report(n, c, what, differs)
			return
		}
	}
}

func (d *differential) count(compared, noJSON int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets++
	d.compared += compared
	d.noJSON += noJSON
}

// report prints a case on which two systems differ, made smaller.
func (d *differential) report(n uint64, c oracle.Case, what string, differs func(oracle.Case) (string, bool)) {
	if d.ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	d.differences++
	first := d.differences
	d.mu.Unlock()
	if first > d.reported {
		return
	}
	fmt.Printf("set %d: a difference; making it smaller\n%s\n%s", n, oracle.RequestJSON(c.Request), what)
	if differs != nil {
		c = oracle.Shrink(c, 400, func(c oracle.Case) bool {
			text, is := differs(c)
			if is {
				what = text
			}
			return is
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Printf("==== set %d\n%s%s\n%s\n%s", n, c.Set.YAML(), optionsText(c.Set.Options), oracle.RequestJSON(c.Request), what)
}

func optionsText(o oracle.Options) string {
	return fmt.Sprintf("# default version %q, default scope %q, lenient scope search %v, lenient evaluation %v, schemas %v",
		o.DefaultPolicyVersion, o.DefaultScope, o.LenientScopeSearch, o.LenientEvaluation, o.SchemaEnforcement)
}

// referenceDiffers tells whether Cerbos takes the policies and answers
// otherwise than the interpreter.
func (d *differential) referenceDiffers(c oracle.Case) (text string, differs bool) {
	server, err := startCerbos(d.ctx, d.program, c.Set)
	if err != nil {
		return "", false
	}
	defer server.stop()
	got, err := server.check([]*engine.Request{c.Request})
	if err != nil {
		return "", false
	}
	want, ok := newReference(oracle.NewWorkshop(), c.Set).agrees(c.Request, got[0])
	return fmt.Sprintf("Cerbos:\n%s\nreference:\n%s\n", got[0], want), !ok
}
