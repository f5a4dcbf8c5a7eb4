// Command rowtrials makes trials of the row filter for whoever turns filters into
// queries: random policies, a table and its rows, and requests of principals, each
// with the filter that PlanRows gives for it and the rows on which Check allows its
// actions, asked one by one. It writes a line of JSON for each set of policies and
// table.
//
// Requests of which nothing is allowed in any row, and those that can't be planned,
// are left out; how many those are, it tells on the standard error stream.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/schema"
)

// What one set of policies and one table have.
const (
	rowsPerTable   = 24
	trialsPerTable = 40
	attempts       = 240 // requests that are tried for those trials
)

func main() {
	trials := flag.Int("n", 10_000, "how many trials to make")
	seed := flag.Uint64("seed", 1, "seed of them all")
	flag.Parse()
	if err := run(*trials, *seed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A table is the line that is written for one table.
type table struct {
	Columns map[string]column `json:"columns"`
	Rows    []map[string]any  `json:"rows"`
	Trials  []trial           `json:"trials"`
}

type column struct {
	Type      oracle.ColumnType `json:"type"`
	Nullable  bool              `json:"nullable"`
	NullMeans string            `json:"nullMeans"` // null or missing
}

type trial struct {
	Filter  filter `json:"filter"`
	Allowed []int  `json:"allowed"` // rows
	Plain   bool   `json:"plain"`   // it has nothing that a query may not have
	Why     string `json:"why"`
}

type filter struct {
	Kind      string          `json:"kind"`
	Condition json.RawMessage `json:"condition,omitempty"`
}

// run writes so many trials, the same ones for one seed.
func run(trials int, seed uint64) error {
	out := bufio.NewWriter(os.Stdout)
	made, refused, denied := 0, 0, 0
	for n := uint64(0); made < trials; {
		// As many tables at a time as there are processors.
		makers := make([]*maker, runtime.GOMAXPROCS(0))
		var workers sync.WaitGroup
		for i := range makers {
			makers[i] = &maker{number: n}
			n++
			workers.Go(func() { makers[i].err = makers[i].make(seed) })
		}
		workers.Wait()
		for _, m := range makers {
			if m.err != nil {
				return m.err
			}
			m.table.Trials = m.table.Trials[:min(len(m.table.Trials), trials-made)]
			if len(m.table.Trials) == 0 {
				continue
			}
			made, refused, denied = made+len(m.table.Trials), refused+m.refused, denied+m.denied
			line, err := json.Marshal(m.table)
			if err != nil {
				return err
			}
			out.Write(append(line, '\n'))
		}
	}
	fmt.Fprintf(os.Stderr, "%d trials; left out: %d requests that are always denied, %d that can't be planned\n", made, denied, refused)
	return out.Flush()
}

// A maker makes the trials of one table.
type maker struct {
	number    uint64
	generator *oracle.Generator
	columns   *oracle.Table
	rows      []oracle.Row
	set       *oracle.Set
	policies  *engine.PolicySet
	decision  engine.Decision

	table           table
	refused, denied int
	err             error
}

// make makes a table and its trials.
func (m *maker) make(seed uint64) error {
	m.generator = oracle.NewGenerator(seed, m.number)
	m.columns = m.generator.Table()
	m.set = m.generator.Set()
	m.rows = m.generator.Rows(rowsPerTable)
	m.table.Columns = map[string]column{}
	for _, c := range m.columns.Columns {
		means := "null"
		if c.MissingWhenNull {
			means = "missing"
		}
		m.table.Columns[c.Name] = column{c.Type, c.Nullable, means}
	}
	for _, r := range m.rows {
		row := map[string]any{"id": r.ID}
		for name, v := range r.Values {
			row[name] = v
		}
		m.table.Rows = append(m.table.Rows, row)
	}
	var err error
	if m.policies, err = compile(m.set); err != nil {
		return err
	}
	return m.makeTrials()
}

func compile(s *oracle.Set) (*engine.PolicySet, error) {
	compiler, err := engine.NewCompiler(engine.Options{
		DefaultPolicyVersion: s.Options.DefaultPolicyVersion,
		DefaultScope:         s.Options.DefaultScope,
		LenientScopeSearch:   s.Options.LenientScopeSearch,
		LenientEvaluation:    s.Options.LenientEvaluation,
		Globals:              s.Options.Globals,
	})
	if err != nil {
		return nil, err
	}
	policies, diagnostics := compiler.Compile(s.Policies, schema.New(oracle.SchemaFiles()))
	if policies == nil {
		return nil, fmt.Errorf("policies do not compile: %s", diagnostics.Render())
	}
	return policies, nil
}

// makeTrials makes trials with different filters.
func (m *maker) makeTrials() error {
	var seen []string
	for i := range attempts {
		if len(m.table.Trials) == trialsPerTable {
			break
		}
		req := m.generator.PlanRequest(m.set)
		plan, err := m.policies.PlanRows(context.Background(), req)
		switch {
		case err != nil:
			m.refused++
			continue
		case plan.Filter.Kind == engine.AlwaysDenied:
			m.denied++
			continue
		case slices.Contains(seen, plan.Debug()):
			continue
		}
		seen = append(seen, plan.Debug())
		t := trial{Filter: filter{Kind: plan.Filter.Kind.String()}, Allowed: []int{}, Plain: true}
		if c := plan.Filter.Condition; c != nil {
			if t.Filter.Condition, err = c.AppendJSON(nil); err != nil {
				return err
			}
			t.Plain = m.columns.IsPlain(t.Filter.Condition)
		}
		for n, row := range m.rows {
			m.policies.Check(m.columns.RowRequest(req, row), &m.decision)
			if m.decision.Allowed() {
				t.Allowed = append(t.Allowed, n)
			}
		}
		mode := "strict"
		if m.set.Options.LenientEvaluation {
			mode = "lenient"
		}
		t.Why = fmt.Sprintf("policies %d, request %d, %s", m.number, i, mode)
		m.table.Trials = append(m.table.Trials, t)
	}
	return nil
}
