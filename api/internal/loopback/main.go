//go:build linux

// Command loopback measures what a call of CheckResources costs, beside the real
// Cerbos: requests per second, latency and CPU time per request over gRPC on the
// loopback interface, of one resource and four actions.
//
// Both servers are the binaries that people run, with the policies of the demo,
// without audit log and telemetry. The client sends both the same encoded
// requests, on as many connections with as many calls under way. The servers
// take turns, in rounds, so that whatever else the machine does meets both
// alike; the table gives the median of the rounds and the ratio to Cerbos.
//
// What always holds here:
//
//  1. Every answer is decoded and must say of each action what the other server
//     says. One wrong answer ends the run.
//  2. CPU time is that of the server's process, user space and kernel, as Linux
//     accounts for it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "folder of the repository")
	flag.StringVar(&o.cerbos, "cerbos", ".tools/cerbos/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64", "the real Cerbos")
	flag.StringVar(&o.edict, "edict", "", "Edict; empty: it is built")
	flag.IntVar(&o.rounds, "rounds", 9, "rounds; in each every server gets its turn")
	flag.IntVar(&o.requests, "requests", 20_000, "requests per turn under load")
	flag.IntVar(&o.connections, "connections", 4, "connections under load")
	flag.IntVar(&o.streams, "streams", 16, "calls under way per connection under load")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		os.Exit(1)
	}
}

type options struct {
	root, cerbos, edict  string
	rounds, requests     int
	connections, streams int
}

// A load is how the client asks.
type load struct {
	name                 string
	connections, streams int
	requests             int // per turn
}

func run(o options) (err error) {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.rounds < 1 || o.requests < 10 || o.connections < 1 || o.streams < 1:
		return errors.New("rounds, connections and streams must be positive, and requests at least 10")
	}
	folder, err := os.MkdirTemp("", "loopback")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if o.edict == "" {
		o.edict = filepath.Join(folder, "edict")
		build := exec.Command("go", "build", "-o", o.edict, "./cmd/edict")
		build.Dir = o.root
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for _, start := range [...]func(options) (*server, error){startCerbos, startEdict} {
		s, err := start(o)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	fmt.Printf("%d cores, %s, %s, %s/%s\n", runtime.NumCPU(), cpuModel(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, l := range []load{
		{"under load", o.connections, o.streams, o.requests},
		{"one at a time", 1, 1, o.requests / 10},
	} {
		if err := measure(l, o.rounds, servers); err != nil {
			return err
		}
	}
	return nil
}

func measure(l load, rounds int, servers []*server) error {
	results := make([][]result, len(servers)) // by server and round
	clients := make([]*client, len(servers))
	var expected []answer
	for i, s := range servers {
		c, err := dial(s, l)
		if err != nil {
			return err
		}
		defer c.close()
		if expected == nil {
			if expected, err = c.ask(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		c.expected, clients[i] = expected, c
	}
	for round := range rounds + 1 {
		for turn := range servers {
			i := (round + turn) % len(servers) // nobody is always first
			r, err := clients[i].run(l.requests)
			if err != nil {
				return fmt.Errorf("%s: %w", servers[i].name, err)
			}
			if round > 0 { // the first warms up
				results[i] = append(results[i], r)
			}
		}
	}
	fmt.Printf("\n%s: %d connections with %d calls under way each, %d rounds of %d requests, all answers verified\n\n",
		l.name, l.connections, l.streams, rounds, l.requests)
	return printTable(servers, results)
}

// A figure is one column of the table.
type figure struct {
	name, format string
	of           func(*result) float64
}

var figures = []figure{
	{"requests/s", "%.0f", func(r *result) float64 { return float64(r.requests) / r.took.Seconds() }},
	{"p50 µs", "%.0f", func(r *result) float64 { return micros(r.p50) }},
	{"p99 µs", "%.0f", func(r *result) float64 { return micros(r.p99) }},
	{"CPU µs/request", "%.1f", func(r *result) float64 { return micros(r.cpu) / float64(r.requests) }},
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// printTable prints, of each server and figure, the median of the rounds, and
// the median of its ratios to the first server in the same round. The last
// column is the range of the last figure's ratios.
func printTable(servers []*server, results [][]result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := "server\t"
	for _, f := range figures {
		header += f.name + "\tratio\t"
	}
	fmt.Fprintln(w, header+"range\t")
	for i, s := range servers {
		line := s.name + "\t"
		var least, most float64
		for _, f := range figures {
			var own, ratios []float64
			for round := range results[i] {
				v := f.of(&results[i][round])
				own = append(own, v)
				ratios = append(ratios, v/f.of(&results[0][round]))
			}
			line += fmt.Sprintf(f.format, median(own)) + fmt.Sprintf("\t×%.2f\t", median(ratios))
			least, most = slices.Min(ratios), slices.Max(ratios)
		}
		fmt.Fprintf(w, "%s%.2f–%.2f\t\n", line, least, most)
	}
	return w.Flush()
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// cpuModel gives the CPU's name.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown CPU"
}
