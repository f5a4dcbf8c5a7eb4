package sidebyside

import (
	"fmt"
	"io"
	"time"
)

// A Server is one of those that are compared, running.
type Server struct {
	Name    string
	Address string                // host:port
	Used    func() (Usage, error) // since it began

	// Calls gives what is asked of it. Ask asks it once, so that later answers can
	// be held against the first.
	Calls func(ask func(request []byte) ([]byte, error)) ([]Call, error)
}

// A Usage is what the process of a server has used.
type Usage struct {
	CPU   time.Duration // in user space and kernel
	Bytes int64         // allocated on the heap, freed or not; 0 if nobody looks
}

// A Load is how the servers are asked.
type Load struct {
	Name        string
	Connections int // at least 1
	Streams     int // calls under way on each connection, at least 1
	Calls       int // in one turn of a server, at least 1
}

// A Call is one of those that are made.
type Call struct {
	Request []byte                    // the encoded message
	Verify  func(answer []byte) error // of every answer, of several at the same time
}

// A Comparison says how servers are compared.
type Comparison struct {
	Method string // of gRPC, as in /package.Service/Method
	Unit   string // what a call is, as in "check"
	Rounds int    // in each every server gets its turn
	Heap   bool   // tell what the servers allocate, too

	// Deadline is how long a call may take, which the server is told of. 0: as
	// long as it likes, and the server is told of none.
	Deadline time.Duration
}

// Run measures servers under a load and prints a table. The first server is the
// yardstick. The error is of the first call that failed, or of the first answer
// that was wrong.
func (c *Comparison) Run(w io.Writer, l Load, servers []Server) error {
	results := make([][]result, len(servers)) // by server and round
	clients := make([]*client, len(servers))
	for i := range servers {
		k, err := dial(&servers[i], c, l)
		if err != nil {
			return fmt.Errorf("%s: %w", servers[i].Name, err)
		}
		defer k.close()
		clients[i] = k
	}
	for round := range c.Rounds + 1 {
		for turn := range servers {
			i := (round + turn) % len(servers) // nobody is always first
			r, err := clients[i].run(l.Calls)
			if err != nil {
				return fmt.Errorf("%s: %w", servers[i].Name, err)
			}
			if round > 0 { // the first warms up
				results[i] = append(results[i], r)
			}
		}
	}
	if _, err := fmt.Fprintf(w, "\n%s: %d connections with %d calls under way each, %d rounds of %d %ss, all answers verified\n\n",
		l.Name, l.Connections, l.Streams, c.Rounds, l.Calls, c.Unit); err != nil {
		return err
	}
	return c.printTable(w, servers, results)
}
