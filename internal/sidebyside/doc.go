// Package sidebyside measures what calls cost that several servers answer, over
// gRPC on the loopback interface: calls per second, latency, and what the
// processes of the servers use.
//
// All servers get the same encoded requests, on as many connections with as
// many calls under way. They take turns, in rounds, so that whatever else the
// machine does meets all alike; the table gives the median of the rounds and the
// ratio to the first server.
//
// What always holds here:
//
//  1. Every answer is verified, as whoever measures says. One wrong answer ends
//     the run: a server that refuses everything is quick.
//  2. No server is always the first of a round, and the first round, in which
//     all get warm, does not count.
package sidebyside
