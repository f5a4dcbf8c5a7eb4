package listener

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// shortDir gives a folder whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "edict")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestExposed(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": false, "127.9.9.9:1": false, "[::1]:1": false, "localhost:1": false, "unix:/x": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "10.0.0.1:1": true, "edict.example:1": true, "[fe80::1%eth0]:1": true, "1": true,
	} {
		if got := Exposed(address); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
}

func TestSocketModeAndGroup(t *testing.T) {
	for _, tt := range []struct {
		mode  fs.FileMode
		group string
	}{{0o600, ""}, {0o660, ""}, {0o666, ""}, {0o660, strconv.Itoa(os.Getgid())}} {
		path := filepath.Join(shortDir(t), "s")
		l, err := Open(Options{Address: "unix:" + path, Socket: Socket{Mode: tt.mode, Group: tt.group}})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != fs.ModeSocket|tt.mode || int(info.Sys().(*syscall.Stat_t).Gid) != os.Getgid() {
			t.Errorf("%o: the socket is %v, %v", tt.mode, info.Mode(), err)
		}
		if l.Address() != "unix:"+path {
			t.Errorf("it says that it is at %s", l.Address())
		}
		l.Close()
	}
}

// The moment between making a socket and setting its mode is no way in. The
// umask is the process's, so this test is alone.
func TestSocketIsPrivateFromTheStart(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(shortDir(t), "s")
	l, err := listenPrivately(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil || knowsPeers && info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
}

func TestSocketOfSomeUsers(t *testing.T) {
	if !knowsPeers {
		t.Skip("this system does not tell whose process connects")
	}
	me := uint32(os.Getuid())
	for _, tt := range []struct {
		uids []uint32
		in   bool
	}{{[]uint32{me}, true}, {[]uint32{me + 1, me}, true}, {[]uint32{me + 1}, false}} {
		path := filepath.Join(shortDir(t), "s")
		refused := make(chan error, 1)
		l, err := Open(Options{Address: "unix:" + path, Socket: Socket{Mode: 0o600, UIDs: tt.uids}, Refused: func(err error) { refused <- err }})
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn, 1)
		go func() {
			if conn, err := l.Accept(); err == nil {
				accepted <- conn
			}
			close(accepted)
		}()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if tt.in {
			(<-accepted).Close()
		} else {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("%v: the connection is open", tt.uids)
			}
			if err := <-refused; !strings.Contains(err.Error(), strconv.Itoa(int(me))) {
				t.Errorf("%v: refused with %v", tt.uids, err)
			}
		}
		conn.Close()
		l.Close()
		<-accepted
	}
}

func TestListenersThatAreRefused(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for want, o := range map[string]Options{
		"is not a socket":                      {Address: "unix:" + file},
		"another process listens":              {Address: "unix:" + filepath.Join(dir, "live")},
		"can't be longer than":                 {Address: "unix:/" + strings.Repeat("x", 200)},
		`listen.socket.group: there is no`:     {Address: "unix:" + filepath.Join(dir, "s"), Socket: Socket{Mode: 0o660, Group: "nobody-is-in-it"}},
		"cert: open " + dir + "/none: no such": {Address: "127.0.0.1:0", TLS: &TLS{Cert: dir + "/none", Key: file}},
	} {
		if l, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v", want, l, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket is left behind: %v", err)
	}
	if content, err := os.ReadFile(file); string(content) != "precious" {
		t.Errorf("the file holds %q, %v", content, err)
	}
}
