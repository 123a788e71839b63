package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// link is a connection that is made when it is needed, and given up at the first error.
type link struct {
	network, address string // network: unix, udp, tcp, tls
	tls              *tls.Config
	timeout          time.Duration // of a dial, and of all that is sent in one delivery

	conn   net.Conn
	stream bool
	gone   chan struct{} // of a stream: closed once the peer has closed it
}

// use calls send with a connection on which writes end with ctx or the timeout. If it fails on a connection that was there
// before, which the peer may have closed meanwhile, it is tried once more on a new one.
func (l *link) use(ctx context.Context, send func(net.Conn) error) error {
	for {
		old := l.alive()
		if !old {
			if err := l.dial(ctx); err != nil {
				return fmt.Errorf("connecting to %s: %w", l, bare(err))
			}
		}
		conn := l.conn
		if err := conn.SetWriteDeadline(time.Now().Add(l.timeout)); err != nil {
			return fmt.Errorf("sending to %s: %w", l, errors.Join(bare(err), l.close()))
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) }) // fails only if it is closed
		err := send(conn)
		stop()
		if err == nil {
			return nil
		}
		err = errors.Join(bare(err), l.close())
		if !old || ctx.Err() != nil {
			return fmt.Errorf("sending to %s: %w", l, err)
		}
	}
}

// alive reports whether there is a connection that the peer has not closed. On one that it has, a first write would seem to work.
func (l *link) alive() bool {
	if l.conn == nil {
		return false
	}
	select {
	case <-l.gone: // never, if it is nil
		_ = l.close() // it is gone; why does not matter
		return false
	default:
		return true
	}
}

func (l *link) dial(ctx context.Context) (err error) {
	dialer := &net.Dialer{Timeout: l.timeout}
	switch l.network {
	case "unix":
		l.stream = false
		l.conn, err = dialer.DialContext(ctx, "unixgram", l.address)
		if errors.Is(err, syscall.EPROTOTYPE) {
			l.stream = true
			l.conn, err = dialer.DialContext(ctx, "unix", l.address)
		}
	case "tls":
		l.stream = true
		l.conn, err = (&tls.Dialer{NetDialer: dialer, Config: l.tls}).DialContext(ctx, "tcp", l.address)
	default:
		l.stream = l.network == "tcp"
		l.conn, err = dialer.DialContext(ctx, l.network, l.address)
	}
	if err != nil {
		l.conn = nil
		return err
	}
	l.gone = nil
	if l.stream {
		conn, gone := l.conn, make(chan struct{})
		l.gone = gone
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, conn) // whatever ends it, nothing more can be sent
		}()
	}
	return nil
}

func (l *link) close() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	if l.gone != nil {
		<-l.gone
	}
	l.conn, l.gone = nil, nil
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) { // TLS says goodbye to a peer that has gone
		return nil
	}
	return err
}

func (l *link) String() string { return l.network + "://" + l.address }

// bare drops what is not the same each time: the port of this side.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
