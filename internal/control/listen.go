// Package control is how a command talks to the agent that runs on the same host: HTTP and JSON on a
// Unix socket, for root alone.
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrRunning says that another agent answers on the socket.
var ErrRunning = errors.New("another agent is running")

// Listen listens on a Unix socket that only root, and who runs the agent, can open. It makes the
// directory if need be, and takes the place of a socket on which nobody answers.
func Listen(path string) (net.Listener, error) {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("opening the control socket: %s has %d bytes, a socket's path can have %d (name a shorter one with --socket)",
			path, len(path), len(unix.RawSockaddrUnix{}.Path)-1)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	return &listener{l.(*net.UnixListener)}, nil
}

// private sets the mode of a socket before it is bound, so that there is no moment at which others
// can connect.
func private(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
}

func removeStale(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("%w: it answers on %s", ErrRunning, path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// listener accepts connections and finds out whose they are.
type listener struct{ *net.UnixListener }

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if peer, err := peerOf(c); err == nil {
			return &conn{c, peer}, nil
		}
		_ = c.Close()
	}
}

// Peer is who is at the other end, as the kernel says.
type Peer struct {
	PID int32
	UID uint32
}

// may reports whether the peer may ask anything: root may, and who runs the agent.
func (p Peer) may() bool { return p.UID == 0 || p.UID == uint32(os.Geteuid()) }

// conn is a connection whose peer is known.
type conn struct {
	net.Conn
	peer Peer
}

func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("asking who connects: %w", err)
	}
	return Peer{PID: cred.Pid, UID: cred.Uid}, nil
}
