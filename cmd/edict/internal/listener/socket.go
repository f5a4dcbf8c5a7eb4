package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A Socket says who may use a Unix socket.
type Socket struct {
	Mode  fs.FileMode // permission bits; connecting takes the right to write
	Group string      // name or number; empty: the process's own
	UIDs  []uint32    // users whose processes may connect; empty: whom Mode lets
}

func openSocket(path string, s Socket, refused func(error)) (net.Listener, error) {
	if longest := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > longest {
		return nil, fmt.Errorf("the path of a socket can't be longer than %d bytes: %s", longest, path)
	}
	gid := -1
	if s.Group != "" {
		var err error
		if gid, err = groupID(s.Group); err != nil {
			return nil, socketError("group", err)
		}
	}
	if len(s.UIDs) > 0 && !knowsPeers {
		return nil, socketError("uids", errors.New("this system does not tell whose process connects"))
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, err
	}
	if gid >= 0 {
		if err := os.Chown(path, -1, gid); err != nil {
			l.Close()
			return nil, socketError("group", err)
		}
	}
	if err := os.Chmod(path, s.Mode.Perm()); err != nil { // last, when the group is right
		l.Close()
		return nil, socketError("mode", err)
	}
	if len(s.UIDs) == 0 {
		return l, nil
	}
	if refused == nil {
		refused = func(error) {}
	}
	return peerListener{l, s.UIDs, refused}, nil
}

// listenPrivately makes a socket that only its owner can use until its mode is
// set, whatever the process's umask is.
func listenPrivately(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			// On Linux the file takes over the mode that the socket has before
			// it is bound. Where a socket has none, the umask must do.
			_ = syscall.Fchmod(int(fd), 0o600)
		})
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

func groupID(group string) (int, error) {
	if id, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q", group)
	}
	return strconv.Atoi(g.Gid)
}

// removeStale removes the socket of a process that is gone. One that answers
// is another process's, and stays.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on %s", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is in use, or not ours to remove: %w", path, err)
	}
	return os.Remove(path)
}

// A peerListener accepts connections of the processes of some users.
type peerListener struct {
	*net.UnixListener
	uids    []uint32
	refused func(error)
}

// Accept implements net.Listener.
func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && slices.Contains(l.uids, uid) {
			return conn, nil
		}
		conn.Close()
		if err == nil {
			err = fmt.Errorf("a process of the user %d may not use the socket", uid)
		}
		l.refused(err)
	}
}
