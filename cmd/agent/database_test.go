package main

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/require"
)

// store is a fleet's store with one host, and how that connects.
func store(t *testing.T) (super *pgx.Conn, enrolled db.Enrolment, dsn string) {
	t.Helper()
	super, enrolled, dsn, _ = fleetStore(t)
	return super, enrolled, dsn
}

// fleetStore is that, with what enrols more hosts.
func fleetStore(t *testing.T) (super *pgx.Conn, enrolled db.Enrolment, dsn string, enroll func(name string) (db.Enrolment, string)) {
	t.Helper()
	cluster, err := pgtest.Start(pgtest.Config{Programs: require.DB(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.Create(t.Context(), "fleet"); err != nil {
		t.Fatal(err)
	}
	database := &pgtest.Database{Cluster: cluster, Name: "fleet"}
	super = database.Connect(t, "postgres")
	if _, err := db.Migrate(t.Context(), super); err != nil {
		t.Fatal(err)
	}
	enroll = func(name string) (db.Enrolment, string) {
		t.Helper()
		e, err := db.Enroll(t.Context(), super, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		dsn, err := database.TLS(t.TempDir(), e.Role)
		if err != nil {
			t.Fatal(err)
		}
		return e, dsn
	}
	enrolled, dsn = enroll("test")
	return super, enrolled, dsn, enroll
}

// TestKilledIntoDatabase kills agents at any moment while their connections to the database are cut as well: each execution is in the
// database exactly once.
func TestKilledIntoDatabase(t *testing.T) {
	super, enrolled, dsn := store(t)
	r := newRestarts(t)
	r.args = []string{"--no-stdout", "--database", dsn}
	ctx, cancel := context.WithCancel(context.Background())
	cut := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			var ended int
			if err := super.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE usename = $1", enrolled.Role).Scan(&ended); err == nil {
				n += ended
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
		cut <- n
	}()
	last, running := r.killed(t, *kills, r.program)
	cancel()
	t.Logf("%d connections cut", <-cut)
	// What the last agent could not deliver before it was stopped, the next one does.
	p := r.start(t)
	p.logged(t, "bittern is running")
	conn, err := pgx.Connect(t.Context(), super.Config().ConnString()) // the other one's context is over
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	count := func(sql string) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const executions = "FROM fleet.detections WHERE kind = 'detection'"
	// What has gathered comes after a delay of half a minute at most, and at the pace that the database wants.
	there := 0
	for end := time.Now().Add(3 * time.Minute); there != last && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		there = count("SELECT count(DISTINCT body #>> '{process,args,1}') " + executions)
	}
	if there != last {
		t.Errorf("%d of %d executions are in the database", there, last)
	}
	if n := count("SELECT count(*) " + executions); n != last {
		t.Errorf("%d rows of %d executions", n, last)
	}
	if n := count("SELECT count(*) FROM fleet.dead_letters"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("%d executions: each in the database once; killed %d times, %d of them while running", last, *kills, running)
}
