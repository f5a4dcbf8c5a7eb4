//go:build unix

// Command loopback measures what Edict costs as a server, beside a server that
// always says OK: throughput, latency and CPU time per check over gRPC on the
// loopback interface.
//
// Each server is a process of its own (this program, started again with
// -serve), so that its CPU time can be told from the client's. The checks are
// those of the demo. How the servers are compared is what package sidebyside
// says; the ratios are to the server that always says OK.
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
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"edict/internal/sidebyside"
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
		fmt.Println(sidebyside.Machine())
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

func measure(o options) (err error) {
	children := make([]*child, 0, len(servers))
	defer func() {
		for _, c := range children {
			if e := c.stop(); err == nil {
				err = e
			}
		}
	}()
	var compared []sidebyside.Server
	for i := range servers {
		c, err := start(&servers[i], o)
		if err != nil {
			return fmt.Errorf("%s: %w", servers[i].name, err)
		}
		children = append(children, c)
		compared = append(compared, sidebyside.Server{Name: c.name, Address: c.address, Used: c.used, Calls: c.calls})
	}
	fmt.Println(sidebyside.Machine())
	comparison := sidebyside.Comparison{
		Method: authv3.Authorization_Check_FullMethodName, Unit: "check", Rounds: o.rounds, Heap: true,
		// Envoy sends a deadline with every check. This one is long, for busy
		// machines; to the server any costs the same.
		Deadline: 30 * time.Second,
	}
	for _, l := range []sidebyside.Load{
		{Name: "under load", Connections: o.connections, Streams: o.streams, Calls: o.requests},
		{Name: "one at a time", Connections: 1, Streams: 1, Calls: (o.requests + 9) / 10},
	} {
		if err := comparison.Run(os.Stdout, l, compared); err != nil {
			return err
		}
	}
	return nil
}
