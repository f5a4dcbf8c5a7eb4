package listener

import (
	"fmt"
	"net"
	"strings"
)

// Options says where to listen, and to whom.
type Options struct {
	Address string // "host:port" or "unix:/path"
	Socket  Socket // of a Unix socket
	TLS     *TLS   // nil: plain text

	// Refused is called for a process that may not use the socket. Nil means
	// nobody looks.
	Refused func(error)
}

// A Listener is open. It does not speak TLS itself: what serves on it does, by
// Certificates.Config, since gRPC and HTTP each do so in their own way.
type Listener struct {
	net.Listener

	// Certificates is nil for plain text.
	Certificates *Certificates
}

// Open opens a listener. An error of the TLS is a *TLSError.
func Open(o Options) (*Listener, error) {
	l := new(Listener)
	var err error
	if o.TLS != nil { // first, since nothing is left behind if it fails
		if l.Certificates, err = NewCertificates(*o.TLS); err != nil {
			return nil, &TLSError{err}
		}
	}
	if path, ok := strings.CutPrefix(o.Address, "unix:"); ok {
		l.Listener, err = openSocket(path, o.Socket, o.Refused)
	} else {
		l.Listener, err = net.Listen("tcp", o.Address)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// A TLSError is an error of Options.TLS. It begins with the setting.
type TLSError struct{ err error }

// Error implements error.
func (e *TLSError) Error() string { return e.err.Error() }

// Unwrap gives what is wrong.
func (e *TLSError) Unwrap() error { return e.err }

// Address gives where it listens, in the form of Options.Address.
func (l *Listener) Address() string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// Exposed tells whether an address can be reached from other machines, as far
// as it tells: a Unix socket and a loopback address can't.
func Exposed(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err == nil && host == "localhost" {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}

// socketError says which setting of a socket failed.
func socketError(setting string, err error) error {
	return fmt.Errorf("listen.socket.%s: %w", setting, err)
}
