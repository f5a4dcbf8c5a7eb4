//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/extauthz"
	"edict/extauthz/internal/loopback/demo"
	"edict/internal/sidebyside"
)

// A job is a check that is answered, or decoded, without gRPC.
type job struct {
	name   string
	run    func()
	allocs float64
	took   []time.Duration // of one run, as each turn has it
}

// How often jobs are run in one turn, and how many turns each has. A turn is so
// short that some are not interrupted on a busy machine, either.
const (
	runsPerTurn = 50
	turns       = 1000
)

// measureInProcess prints how long checks take from bytes to bytes. The jobs take
// turns; the least and the median of the turns are told, the least as a ratio to
// decoding the first check into the generated types.
func measureInProcess(root string) error {
	revision, err := demo.Revision(root)
	if err != nil {
		return err
	}
	s := new(extauthz.Server)
	s.Use(revision)
	dst := make([]byte, 0, 4096)
	for _, form := range []struct {
		name string
		raw  bool
	}{{"raw headers", true}, {"headers as a map", false}} {
		checks := demo.Checks(form.raw)
		jobs := []job{{name: "decoding alone", run: func() { _ = proto.Unmarshal(checks[0].Request, new(authv3.CheckRequest)) }}}
		for i := range checks {
			c := &checks[i]
			if err := c.Verify(s.AppendCheck(context.Background(), nil, c.Request)); err != nil {
				return err
			}
			jobs = append(jobs, job{name: c.Name, run: func() { s.AppendCheck(context.Background(), dst, c.Request) }})
		}
		for i := range jobs {
			jobs[i].allocs = testing.AllocsPerRun(100, jobs[i].run)
		}
		for range turns {
			for i := range jobs {
				j := &jobs[i]
				began := time.Now()
				for range runsPerTurn {
					j.run()
				}
				j.took = append(j.took, time.Since(began)/runsPerTurn)
			}
		}
		fmt.Printf("\n%s, %d turns of %d\n\n", form.name, turns, runsPerTurn)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "check\tleast µs\tratio\tmedian µs\tallocations\t")
		least := slices.Min(jobs[0].took)
		for i := range jobs {
			j := &jobs[i]
			slices.Sort(j.took)
			fmt.Fprintf(w, "%s\t%.1f\t×%.2f\t%.1f\t%.0f\t\n", j.name, sidebyside.Micros(j.took[0]), float64(j.took[0])/float64(least), sidebyside.Micros(j.took[len(j.took)/2]), j.allocs)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}
