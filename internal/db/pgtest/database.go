package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/require"
)

// Shared is the cluster of a test binary: started by the first test that asks for it, and stopped by Run. Each test gets
// a database of its own, a copy of a template. Roles belong to all: those of hosts have names that nobody else has.
type Shared struct {
	Config Config
	// Prepare is done to the template, once, as the superuser, for instance migrations.
	Prepare func(ctx context.Context, conn *pgx.Conn) error
	// Copied is done to each copy: what is said of a database itself is not copied with it.
	Copied func(ctx context.Context, conn *pgx.Conn) error

	once    sync.Once
	cluster *Cluster
	err     error
	copying sync.Mutex // a template can't be copied by two at once
	count   atomic.Int64
}

// Run is for TestMain: it runs the tests, and then stops the cluster.
func (s *Shared) Run(m interface{ Run() int }) int {
	code := m.Run()
	if s.cluster == nil {
		return code
	}
	if err := s.cluster.Stop(); err != nil {
		fmt.Println(err)
		code = max(code, 1)
	}
	return code
}

// Cluster is the cluster, nil before the first test has asked for it.
func (s *Shared) Cluster() *Cluster { return s.cluster }

// Database is one test's own.
type Database struct {
	*Cluster
	Name string
}

const template = "template_test"

// Database makes a database for a test.
func (s *Shared) Database(t testing.TB) *Database {
	t.Helper()
	programs := require.DB(t)
	s.once.Do(func() { s.err = s.start(t.Context(), programs) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	d := &Database{Cluster: s.cluster, Name: "test_" + strconv.FormatInt(s.count.Add(1), 10)}
	if err := s.copy(t.Context(), d); err != nil {
		t.Fatalf("%v\n%s", err, s.cluster.Log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.cluster.Log())
		}
		// Its context is done by now.
		if err := s.cluster.execute(context.Background(), "DROP DATABASE "+d.Name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (s *Shared) start(ctx context.Context, programs string) (err error) {
	c := s.Config
	c.Programs = programs
	if s.cluster, err = Start(c); err != nil {
		return err
	}
	if err := s.cluster.Close(ctx); err != nil {
		return err
	}
	if err := s.cluster.Create(ctx, template); err != nil {
		return err
	}
	return s.cluster.as(ctx, &Database{Cluster: s.cluster, Name: template}, s.Prepare)
}

func (s *Shared) copy(ctx context.Context, d *Database) error {
	s.copying.Lock()
	defer s.copying.Unlock()
	if err := s.cluster.execute(ctx, "CREATE DATABASE "+d.Name+" TEMPLATE "+template); err != nil {
		return err
	}
	return s.cluster.as(ctx, d, s.Copied)
}

// Close keeps hosts from the databases that every cluster has, as is to be done in production: there they could do what was taken
// from everybody in a fleet's.
func (c *Cluster) Close(ctx context.Context) error {
	return c.execute(ctx, "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
}

// Create makes an empty database.
func (c *Cluster) Create(ctx context.Context, name string) error {
	return c.execute(ctx, "CREATE DATABASE "+name)
}

func (c *Cluster) execute(ctx context.Context, sql string) error {
	return c.as(ctx, &Database{Cluster: c, Name: "postgres"}, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("running %q: %w", sql, err)
		}
		return nil
	})
}

func (c *Cluster) as(ctx context.Context, d *Database, do func(context.Context, *pgx.Conn) error) error {
	if do == nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, d.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("connecting to the test's server: %w", err)
	}
	return errors.Join(do(ctx, conn), conn.Close(ctx))
}

// DSN is how a role connects by the Unix socket.
func (d *Database) DSN(role string) string {
	q := url.Values{"host": {d.Socket}, "port": {strconv.Itoa(d.Port)}}
	return "postgres://" + role + "@/" + d.Name + "?" + q.Encode()
}

// TLS is how a role connects by TLS, with a certificate made for it in dir.
func (d *Database) TLS(dir, role string) (string, error) {
	cert, key, err := d.Client(dir, role)
	if err != nil {
		return "", err
	}
	q := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {d.CAFile}, "sslcert": {cert}, "sslkey": {key}}
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?%s", role, d.Port, d.Name, q.Encode()), nil
}

// Connect connects as a role by the Unix socket, until the test ends.
func (d *Database) Connect(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	return Dial(t, d.DSN(role))
}

// Dial connects until the test ends.
func Dial(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
