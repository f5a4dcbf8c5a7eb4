// Package listener opens what Edict listens on: TCP addresses and Unix sockets,
// with or without TLS.
//
// What always holds here:
//
//  1. A certificate, key or set of authorities that is not sound never takes
//     the place of one that is. It is told of once.
//  2. A handshake sees certificate, key, authorities and the clients that are
//     admitted as they were read together. One that is under way ends by those
//     that it began with.
//  3. A client that is not admitted gets no further than its handshake, or than
//     the connection to the socket.
//  4. The socket of a process that is alive is not taken away, and no file that
//     is not a socket.
package listener
