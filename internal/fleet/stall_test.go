package fleet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/db"
)

// line stands between a host and the server. While it stalls, connections stay open, and nothing goes through.
type line struct {
	dsn    string
	stalls atomic.Bool
}

func newLine(t *testing.T, dsn string) *line {
	t.Helper()
	config, err := db.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n := &line{dsn: strings.Replace(dsn, fmt.Sprint(config.Port), port, 1)}
	var open sync.WaitGroup
	t.Cleanup(func() { l.Close(); open.Wait() })
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
			if err != nil {
				client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				defer to.Close()
				defer from.Close()
				buf := make([]byte, 16<<10)
				for {
					read, err := from.Read(buf)
					for n.stalls.Load() {
						// The client gives up at some time: then there is nothing more to wait for.
						client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
						if _, err := client.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
							return
						}
					}
					if _, writeErr := to.Write(buf[:read]); err != nil || writeErr != nil {
						return
					}
				}
			}
			open.Go(func() { pass(server, client) })
			open.Go(func() { pass(client, server) })
		}
	})
	return n
}

// TestStalled has a connection that is there, and carries nothing.
func TestStalled(t *testing.T) {
	s := newStore(t)
	e, dsn := s.enroll(t, "a")
	n := newLine(t, dsn)
	a := s.relink(t, e, n.dsn, t.TempDir()+"/states.json", func(c *Config) { c.Waits.Call, c.Waits.Unsettling = 300*time.Millisecond, time.Millisecond })
	eventually(t, "the link", func() bool { return a.Link.Status().Connected })
	n.stalls.Store(true)
	eventually(t, "the link to be given up", func() bool {
		err := a.Health()
		return err != nil && strings.Contains(err.Error(), "no answer in time")
	})
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	n.stalls.Store(false)
	a.has(t, "R1", "disabled fleet")
	eventually(t, "the link to be well", func() bool { return a.Health() == nil })
}
