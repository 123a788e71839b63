package db_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
)

// golden compares lines with a file, or writes it.
func golden(t *testing.T, name string, got []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := strings.Join(got, "\n") + "\n"
	if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("%s (set BITTERN_UPDATE_GOLDEN=1 if this is meant): -want +got\n%s", name, diff)
	}
}

func lines(t testing.TB, conn *pgx.Conn, file string, args ...any) []string {
	t.Helper()
	sql, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), string(sql), args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPrivileges holds the golden list of what hosts may touch.
func TestPrivileges(t *testing.T) {
	f := newFleet(t)
	h := f.enroll("a")
	golden(t, "privileges_agent.golden", lines(t, f.super, "privileges.sql", "fleet_agent"))
	golden(t, "privileges_host.golden", lines(t, f.super, "privileges.sql", h.Role))
	for _, role := range []string{"fleet_operator", "fleet_console", "fleet_enroller"} {
		golden(t, "privileges_"+strings.TrimPrefix(role, "fleet_")+".golden", lines(t, f.super, "privileges.sql", role))
	}
}

// TestBuiltins holds the list for what PostgreSQL brings along, by its major version.
func TestBuiltins(t *testing.T) {
	f := newFleet(t)
	major := one[int](t, f.super, "SELECT current_setting('server_version_num')::int / 10000")
	name := fmt.Sprintf("builtins_%d.golden", major)
	if _, err := os.Stat(filepath.Join("testdata", name)); errors.Is(err, fs.ErrNotExist) && os.Getenv("BITTERN_UPDATE_GOLDEN") == "" {
		missing := fmt.Sprintf("there is no list for PostgreSQL %d: look at what BITTERN_UPDATE_GOLDEN=1 makes, and commit it", major)
		if strings.Contains(","+os.Getenv("BITTERN_REQUIRE")+",", ",db,") {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	golden(t, name, lines(t, f.super, "privileges_builtin.sql"))
}

// TestStrayGrantsShow mutates: each stray grant must show in the golden list or in Check.
func TestStrayGrantsShow(t *testing.T) {
	f := newFleet(t)
	before := strings.Join(lines(t, f.super, "privileges.sql", "fleet_agent"), "\n")
	grants := []string{
		"GRANT SELECT ON fleet.hosts TO fleet_agent",
		"GRANT SELECT (name) ON fleet.hosts TO fleet_agent",
		"GRANT SELECT ON fleet.detections TO PUBLIC",
		"GRANT EXECUTE ON FUNCTION fleet.set_state_v1(text, text, text, text, real, interval, text, text) TO fleet_agent",
		"GRANT EXECUTE ON FUNCTION fleet.next_gen() TO PUBLIC",
		"GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC",
		"GRANT CREATE ON SCHEMA public TO PUBLIC",
		"GRANT USAGE ON SCHEMA fleet_role TO fleet_agent",
		"GRANT ALL ON SEQUENCE fleet.hosts_host_id_seq TO fleet_agent",
		"DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO PUBLIC', current_database()); END $$",
		"GRANT pg_read_all_data TO fleet_agent",
		"GRANT fleet_operator TO fleet_agent",
		"CREATE TABLE public.t (); GRANT INSERT ON public.t TO PUBLIC",
		"CREATE FUNCTION fleet.extra() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"CREATE TYPE fleet.extra AS ENUM ('a')",
		"SELECT lo_create(4711)",
		"CREATE FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO fleet_agent",
		"CREATE TYPE fleet.extra AS (a int)",
	}
	if one[int](t, f.super, "SELECT current_setting('server_version_num')::int") >= 170000 {
		grants = append(grants, "GRANT MAINTAIN ON fleet.hosts TO fleet_agent", "GRANT pg_maintain TO fleet_agent")
	}
	for _, grant := range grants {
		exec(t, f.super, "BEGIN")
		exec(t, f.super, grant)
		if after := strings.Join(lines(t, f.super, "privileges.sql", "fleet_agent"), "\n"); after == before {
			t.Errorf("not noticed: %s", grant)
		}
		exec(t, f.super, "ROLLBACK")
	}
	before = strings.Join(lines(t, f.super, "privileges_builtin.sql"), "\n")
	for _, grant := range []string{
		"GRANT EXECUTE ON FUNCTION pg_catalog.lo_creat(int) TO PUBLIC",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO fleet_agent",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO fleet_agent",
	} {
		exec(t, f.super, "BEGIN")
		exec(t, f.super, grant)
		if after := strings.Join(lines(t, f.super, "privileges_builtin.sql"), "\n"); after == before {
			t.Errorf("not noticed: %s", grant)
		}
		exec(t, f.super, "ROLLBACK")
	}
}

// TestRolesOfAnOlderServer: up to PostgreSQL 15, CREATEROLE was enough to lock a role, and who made it got nothing. So it is with
// hosts' roles after an upgrade of the server.
func TestRolesOfAnOlderServer(t *testing.T) {
	f := newFleet(t)
	if one[int](t, f.super, "SELECT current_setting('server_version_num')::int") < 160000 {
		t.Skip("this server asks for no admin option")
	}
	h := f.host("a")
	exec(t, f.super, "REVOKE "+h.Role+" FROM fleet_enroller")
	if _, err := db.Revoke(t.Context(), f.ops, h.Role); state(err) != denied {
		t.Fatalf("got %v, so that this test shows nothing", err)
	}
	if _, err := db.Migrate(t.Context(), f.super); err != nil {
		t.Fatal(err)
	}
	if one[bool](t, f.super, "SELECT pg_has_role('fleet_enroller', $1, 'USAGE') OR pg_has_role('fleet_enroller', $1, 'SET')", h.Role) {
		t.Error("the enroller has what the host has")
	}
	if _, err := db.Revoke(t.Context(), f.ops, h.Role); err != nil {
		t.Error(err)
	}
	refused(t, h.dsn, "28000")
}
