//go:build linux

// Command loopback measures what a call of CheckResources costs, beside the real
// Cerbos: requests per second, latency and CPU time per request over gRPC on the
// loopback interface, of one resource and four actions.
//
// Both servers are the binaries that people run, with the policies of the demo,
// without audit log and telemetry. How they are compared is what package
// sidebyside says; the ratios are to Cerbos.
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

	"edict/api"
	"edict/internal/sidebyside"
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
	var servers []sidebyside.Server
	asked := calls()
	for _, start := range [...]func(options) (*server, error){startCerbos, startEdict} {
		s, err := start(o)
		if err != nil {
			return err
		}
		defer s.stop()
		servers = append(servers, sidebyside.Server{Name: s.name, Address: s.address, Used: s.used, Calls: asked})
	}
	fmt.Println(sidebyside.Machine())
	compared := sidebyside.Comparison{Method: "/" + api.ServiceName + "/CheckResources", Unit: "request", Rounds: o.rounds}
	for _, l := range []sidebyside.Load{
		{Name: "under load", Connections: o.connections, Streams: o.streams, Calls: o.requests},
		{Name: "one at a time", Connections: 1, Streams: 1, Calls: o.requests / 10},
	} {
		if err := compared.Run(os.Stdout, l, servers); err != nil {
			return err
		}
	}
	return nil
}
