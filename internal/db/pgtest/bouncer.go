package pgtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"bittern/internal/require"
)

// Bouncer is a PgBouncer in front of a cluster, in transaction mode: a client has a connection of the server for one transaction at a
// time.
type Bouncer struct {
	place
	process
	port int
	log  *logBuffer
}

// Pool starts a PgBouncer for the test, with so many connections of the server for each role and database. Those roles can connect.
func (c *Cluster) Pool(t testing.TB, connections int, roles ...string) *Bouncer {
	t.Helper()
	at, err := newPlace(require.PgBouncer(t))
	if err != nil {
		t.Fatal(err)
	}
	b := &Bouncer{place: at, log: &logBuffer{}}
	if err := b.start(c, connections, roles); err != nil {
		t.Fatal(errors.Join(fmt.Errorf("starting PgBouncer: %w\n%s", err, b.log), at.remove()))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("PgBouncer's log:\n%s", b.log)
		}
		if err := errors.Join(b.end(syscall.SIGTERM, syscall.SIGKILL), b.remove()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *Bouncer) start(c *Cluster, connections int, roles []string) (err error) {
	if b.port, err = freePort(); err != nil {
		return err
	}
	var users strings.Builder
	for _, role := range roles {
		fmt.Fprintf(&users, "%q \"\"\n", role)
	}
	config := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
unix_socket_dir = %s
listen_port = %d
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = %d
`, c.Socket, c.Port, b.dir, b.port, filepath.Join(b.dir, "users"), connections)
	file := filepath.Join(b.dir, "pgbouncer.ini")
	if err := errors.Join(os.WriteFile(file, []byte(config), 0o600), os.WriteFile(filepath.Join(b.dir, "users"), []byte(users.String()), 0o600), b.own()); err != nil {
		return err
	}
	return b.launch(b.command("pgbouncer", file), "process up", syscall.SIGKILL, b.log)
}

// DSN is how a role connects to a database by way of the PgBouncer.
func (b *Bouncer) DSN(role, database string) string {
	q := url.Values{"host": {b.dir}, "port": {strconv.Itoa(b.port)}}
	return "postgres://" + role + "@/" + database + "?" + q.Encode()
}
