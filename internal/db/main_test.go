package db_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/require"
)

func migrated(ctx context.Context, conn *pgx.Conn) error {
	_, err := db.Migrate(ctx, conn)
	return err
}

var shared = pgtest.Shared{Prepare: migrated, Copied: migrated}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// fleet is a test's database with the connections that a test wants.
type fleet struct {
	*pgtest.Database
	t     testing.TB
	super *pgx.Conn
	ops   *pgx.Conn
}

func newFleet(t testing.TB) *fleet {
	t.Helper()
	d := shared.Database(t)
	return &fleet{Database: d, t: t, super: d.Connect(t, "postgres"), ops: d.Connect(t, "fleet_operator")}
}

// host is an enrolled host that is logged in over TLS.
type host struct {
	db.Enrolment
	dsn  string
	conn *pgx.Conn
}

func (f *fleet) host(name string) *host {
	f.t.Helper()
	h := f.enroll(name)
	h.conn = pgtest.Dial(f.t, h.dsn)
	return h
}

func (f *fleet) enroll(name string) *host {
	f.t.Helper()
	e, err := db.Enroll(f.t.Context(), f.ops, name, map[string]string{"env": "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	dsn, err := f.TLS(f.t.TempDir(), e.Role)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		// Roles belong to the cluster: they outlive the test's database.
		ctx := context.Background()
		if _, err := f.super.Exec(ctx, "DROP OWNED BY "+e.Role+"; DROP ROLE "+e.Role); err != nil {
			f.t.Errorf("dropping role %s: %v", e.Role, err)
		}
	})
	return &host{Enrolment: e, dsn: dsn}
}

// exec runs SQL that must succeed.
func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the only value of the only row.
func one[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// row returns the only row, as an object.
func row(t testing.TB, conn *pgx.Conn, sql string, args ...any) map[string]any {
	t.Helper()
	text := one[string](t, conn, "SELECT to_jsonb(r)::text FROM ("+sql+") r", args...)
	d := json.NewDecoder(strings.NewReader(text))
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func programs(t testing.TB) string { return require.DB(t) }

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}

func dropDatabase(f *fleet, name string) error {
	_, err := f.super.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
	return err
}
