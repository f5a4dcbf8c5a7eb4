//go:build unix

// Command loopback measures what Edict costs as a server, beside a server that
// always says OK: throughput, latency and CPU time per check over gRPC on the
// loopback interface.
//
// Each server is a process of its own (this program, started again with
// -serve), so that its CPU time can be told from the client's. The client sends
// all of them the same encoded checks, those of the demo, on as many
// connections with as many calls under way. The servers take turns, in rounds,
// so that whatever else the machine does meets all alike; the table gives the
// median of the rounds and the ratio to the server that always says OK.
//
// What always holds here:
//
//  1. Every answer is verified: the first to each check by its meaning, every
//     later one by being equal to the first, but for the id of the decision. One
//     wrong answer ends the run.
//  2. The yardstick is set up as the documentation of go-control-plane shows:
//     grpc.NewServer without options, generated types, an empty OK.
//  3. Edict runs with the options, policies and routes that it runs with in
//     the demo.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	serve := flag.String("serve", "", "be this server, for the parent process")
	flag.StringVar(&o.root, "root", ".", "folder of the repository")
	flag.StringVar(&o.profiles, "profiles", "", "folder to write a CPU profile of each server to")
	inProcess := flag.Bool("in-process", false, "measure checks without gRPC instead")
	flag.IntVar(&o.rounds, "rounds", 9, "rounds; in each every server gets its turn")
	flag.IntVar(&o.requests, "requests", 40_000, "checks per turn under load")
	flag.IntVar(&o.connections, "connections", 4, "connections under load")
	flag.IntVar(&o.streams, "streams", 16, "calls under way per connection under load")
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *serve != "":
		err = serveChild(*serve, o.root, o.profiles)
	case *inProcess:
		fmt.Printf("%d cores, %s, %s, %s/%s\n", runtime.NumCPU(), cpuModel(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		err = measureInProcess(o.root)
	case o.rounds < 1 || o.requests < 1 || o.connections < 1 || o.streams < 1:
		err = fmt.Errorf("rounds, requests, connections and streams must be positive")
	default:
		err = measure(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		os.Exit(1)
	}
}

type options struct {
	root, profiles       string
	rounds, requests     int
	connections, streams int
}

// A load is how the client asks.
type load struct {
	name                 string
	connections, streams int
	requests             int // per turn
}

func measure(o options) (err error) {
	children := make([]*child, 0, len(servers))
	defer func() {
		for _, c := range children {
			if e := c.stop(); err == nil {
				err = e
			}
		}
	}()
	for i := range servers {
		c, err := start(&servers[i], o)
		if err != nil {
			return fmt.Errorf("%s: %w", servers[i].name, err)
		}
		children = append(children, c)
	}
	fmt.Printf("%d cores, %s, %s, %s/%s\n", runtime.NumCPU(), cpuModel(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, l := range []load{
		{"under load", o.connections, o.streams, o.requests},
		{"one at a time", 1, 1, (o.requests + 9) / 10},
	} {
		if err := measureLoad(l, o.rounds, children); err != nil {
			return err
		}
	}
	return nil
}

func measureLoad(l load, rounds int, children []*child) error {
	results := make([][]result, len(children)) // by server and round
	clients := make([]*client, len(children))
	for i, c := range children {
		client, err := dial(c, l)
		if err != nil {
			return err
		}
		defer client.close()
		clients[i] = client
	}
	for round := range rounds + 1 {
		for turn := range children {
			i := (round + turn) % len(children) // nobody is always first
			r, err := clients[i].run(l.requests)
			if err != nil {
				return fmt.Errorf("%s: %w", children[i].name, err)
			}
			if round > 0 { // the first warms up
				results[i] = append(results[i], r)
			}
		}
	}
	fmt.Printf("\n%s: %d connections with %d calls under way each, %d rounds of %d checks, all answers verified\n\n",
		l.name, l.connections, l.streams, rounds, l.requests)
	return printTable(children, results)
}

// A figure is one column of the table.
type figure struct {
	name, format string
	of           func(*result) float64
}

var figures = []figure{
	{"checks/s", "%.0f", func(r *result) float64 { return float64(r.requests) / r.took.Seconds() }},
	{"p50 µs", "%.0f", func(r *result) float64 { return micros(r.p50) }},
	{"p99 µs", "%.0f", func(r *result) float64 { return micros(r.p99) }},
	{"heap B/check", "%.0f", func(r *result) float64 { return float64(r.bytes) / float64(r.requests) }},
	{"CPU µs/check", "%.1f", func(r *result) float64 { return micros(r.cpu) / float64(r.requests) }},
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// printTable prints, of each server and figure, the median of the rounds, and
// the median of its ratios to the first server in the same round. The last
// column is the range of the last figure's ratios.
func printTable(children []*child, results [][]result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := "server\t"
	for _, f := range figures {
		header += f.name + "\tratio\t"
	}
	fmt.Fprintln(w, header+"range\t")
	for i, c := range children {
		line := c.name + "\t"
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

// cpuModel gives the CPU's name where Linux tells it.
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
