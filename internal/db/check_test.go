package db_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
)

// checked is a server of its own, since a test of Check changes what belongs to all databases of one.
type checked struct {
	*pgtest.Database
	t    *testing.T // that it lives as long as
	conn *pgx.Conn  // of the superuser
}

func newChecked(t *testing.T, cfg pgtest.Config) *checked {
	t.Helper()
	cfg.Programs = programs(t)
	cluster, err := pgtest.Start(cfg)
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
	c := &checked{Database: &pgtest.Database{Cluster: cluster, Name: "fleet"}, t: t}
	c.conn = c.Connect(t, "postgres")
	if _, err := db.Migrate(t.Context(), c.conn); err != nil {
		t.Fatal(err)
	}
	return c
}

// finding returns what Check says that holds a text, nil for nothing.
func (c *checked) finding(t *testing.T, text string) *db.Finding {
	t.Helper()
	found, err := db.Check(t.Context(), c.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if strings.Contains(f.What, text) {
			return &f
		}
	}
	return nil
}

var hintedLine = regexp.MustCompile(`"([^"]+)"`)

// obey does what a hint says.
func (c *checked) obey(t *testing.T, hint string) {
	t.Helper()
	for part := range strings.SplitSeq(hint, "; ") {
		switch {
		case strings.HasPrefix(part, "run bittern db migrate"):
			if _, err := db.Migrate(t.Context(), c.conn); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(part, "run bittern db maintain"):
			if _, err := db.Maintain(t.Context(), c.conn); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(part, "begin pg_hba.conf with "):
			lines := hintedLine.FindAllStringSubmatch(part, -1)
			text := ""
			for _, l := range lines {
				text += l[1] + "\n"
			}
			c.hba(t, text+c.hba(t, ""))
		case part == "restart the server":
			c.restart(t)
		case strings.HasPrefix(part, "bittern db revoke "):
			if _, err := db.Revoke(t.Context(), c.conn, strings.TrimPrefix(part, "bittern db revoke ")); err != nil {
				t.Fatal(err)
			}
		default:
			c.run(t, part)
		}
	}
}

// hba writes pg_hba.conf, unless text is "", and returns what was in it.
func (c *checked) hba(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(c.Data(), "pg_hba.conf")
	old, err := os.ReadFile(path)
	if err == nil && text != "" {
		err = os.WriteFile(path, []byte(text), 0o600) // the owner stays
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(old)
}

func (c *checked) restart(t *testing.T) {
	t.Helper()
	if err := c.Halt(pgtest.FastShutdown); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	c.conn = c.Connect(c.t, "postgres")
}

// run runs SQL, and waits until this session has what it reloads.
func (c *checked) run(t *testing.T, sql string) {
	t.Helper()
	const loaded = "SELECT pg_conf_load_time()::text"
	before := one[string](t, c.conn, loaded)
	exec(t, c.conn, sql)
	for strings.Contains(sql, "pg_reload_conf") && one[string](t, c.conn, loaded) == before {
	}
}

// What a test of Check breaks by SQL; or by lines before those of pg_hba.conf, or in their place.
var checks = []struct {
	name, sql   string // statements separated by ;;
	hba         string
	only        bool // hba is the whole file
	severity    string
	what        string
	least, most int    // versions of PostgreSQL; 0: any
	undo        string // what to do, if the hint is for a person
}{
	{name: "everybody in postgres", severity: "error", what: "everybody may connect to database postgres"},
	{name: "everybody in template1", severity: "error", what: "everybody may connect to database template1"},
	{name: "everybody elsewhere", sql: `CREATE DATABASE "Other One"`, severity: "error", what: "everybody may connect to database Other One"},
	{name: "hosts elsewhere", sql: "GRANT CONNECT ON DATABASE postgres TO fleet_agent", severity: "warning", what: "hosts may connect to database postgres"},
	{name: "a host elsewhere", sql: "SELECT fleet.enroll_host_v1('a', '{}', sha256('a'), '1 day'); DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE postgres TO %I', (SELECT db_role FROM fleet.hosts WHERE name = 'a')); END $$",
		severity: "error", what: "may connect to database postgres"},
	{name: "everybody here", sql: "GRANT CONNECT ON DATABASE fleet TO PUBLIC", severity: "error", what: "everybody may connect to database fleet"},
	{name: "temporary files", severity: "warning", what: "fill the disk with temporary files"},
	{name: "fsync", severity: "warning", what: "fsync is off: a crash of the server loses"},
	{name: "full_page_writes", severity: "warning", what: "full_page_writes is off: a crash of the server loses"},
	{name: "synchronous_commit", severity: "warning", what: "synchronous_commit is off: a crash of the server loses"},
	{name: "ssl", sql: "ALTER SYSTEM SET ssl = off;;SELECT pg_reload_conf()", severity: "error", what: "ssl is off"},
	{name: "connections", sql: "INSERT INTO fleet.hosts (host_uuid, db_role, name) SELECT gen_random_uuid(), 'x' || n, 'x' FROM generate_series(1, 30) n", severity: "warning", what: "max_connections is 60, which is too small for 31 hosts"},
	{name: "no certificates", hba: "local all all trust\n", only: true, severity: "error", what: "no line of pg_hba.conf lets hosts in with their certificates"},
	{name: "trust", hba: "host all all 127.0.0.1/32 trust\n", severity: "error", what: "line 1 of pg_hba.conf lets hosts in without a certificate, by trust"},
	{name: "password", hba: "host all all 10.0.0.0/8 scram-sha-256\n", severity: "error", what: "line 1 of pg_hba.conf lets hosts in without a certificate, by scram-sha-256"},
	{name: "password without TLS", hba: "hostssl fleet +fleet_agent all cert\nhost fleet +fleet_agent all scram-sha-256\n", severity: "error", what: "line 2 of pg_hba.conf lets hosts in without a certificate"},
	{name: "half a reject", hba: "host fleet +fleet_agent 0.0.0.0/0 reject\nhost all all all scram-sha-256\n", severity: "error", what: "line 2 of pg_hba.conf lets hosts in without a certificate"},
	{name: "one host's reject", hba: "host all h_00000000000000000000000000000000 all reject\nhost all all all scram-sha-256\n", severity: "error", what: "line 2 of pg_hba.conf lets hosts in without a certificate"},
	{name: "by pattern", hba: "host /^fl /^h_ 10.0.0.0/8 scram-sha-256\n", severity: "error", what: "line 1 of pg_hba.conf lets hosts in without a certificate", least: 16},
	{name: "a wrong line", hba: "host all all nowhere/99 cert\n", severity: "error", what: "line 1 of pg_hba.conf is wrong", undo: "hba"},
	{name: "no admin option", sql: "DO $$ BEGIN EXECUTE format('REVOKE ADMIN OPTION FOR %I FROM fleet_enroller', (SELECT db_role FROM fleet.hosts WHERE name = 'a')); END $$",
		severity: "error", what: "can't be locked", least: 16},
	{name: "clock", sql: "CREATE SCHEMA wrong; CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$; SET search_path = wrong, pg_catalog",
		severity: "warning", what: "the server's clock differs from this host's by -1h0m0s", undo: "RESET search_path; DROP SCHEMA wrong CASCADE"},
	{name: "newer", sql: "INSERT INTO fleet.schema_versions (version, name, sha256) VALUES (99, 'to_come', '')", severity: "error", what: "newer than this program", undo: "DELETE FROM fleet.schema_versions WHERE version = 99"},
	{name: "older", sql: "DELETE FROM fleet.schema_versions WHERE version = 11; DROP VIEW fleet.host_rule_status", severity: "error", what: "the schema is version 10, and this program knows"},
	{name: "a partition", sql: "DO $$ BEGIN EXECUTE format('DROP TABLE fleet.%I', (SELECT partition FROM fleet.detection_days ORDER BY day DESC LIMIT 1)); END $$",
		severity: "error", what: "is not there, and records of its day wait"},
	{name: "partitions", sql: "UPDATE fleet.settings SET days_ahead = 20", severity: "warning", what: "partitions are there for"},
}

// TestCheckFindings: each thing that is wrong is found, and is found no more when what the hint says was done.
func TestCheckFindings(t *testing.T) {
	c := newChecked(t, pgtest.Config{})
	major := one[int](t, c.conn, "SELECT current_setting('server_version_num')::int / 10000")
	asShipped := c.hba(t, "")
	for _, k := range checks {
		t.Run(k.name, func(t *testing.T) {
			if major < k.least {
				t.Skipf("PostgreSQL %d has no such thing", major)
			}
			if k.sql != "" || k.hba != "" {
				if f := c.finding(t, k.what); f != nil {
					t.Fatalf("found before it is there: %+v", *f)
				}
			}
			for sql := range strings.SplitSeq(k.sql, ";;") {
				c.run(t, sql)
			}
			defer c.hba(t, asShipped)
			if k.hba != "" {
				rest := asShipped
				if k.only {
					rest = ""
				}
				c.hba(t, k.hba+rest)
			}
			f := c.finding(t, k.what)
			if f == nil || f.Severity != k.severity {
				t.Fatalf("found %+v, want %s: %s", f, k.severity, k.what)
			}
			switch k.undo {
			case "":
				c.obey(t, f.Hint)
			case "hba":
				c.hba(t, asShipped)
			default:
				c.obey(t, k.undo)
			}
			if f := c.finding(t, k.what); f != nil {
				t.Errorf("what the hint says did not help: %+v", *f)
			}
		})
	}
	// Lines that are no fault.
	for _, good := range []string{
		"hostssl fleet +fleet_agent all cert\nhost all +fleet_agent all reject\nhost all all all scram-sha-256\n",
		"hostssl all all all cert\nhostssl all all all scram-sha-256\n",
		"hostssl fleet +fleet_agent all scram-sha-256 clientcert=verify-full\n",
		"host fleet fleet_operator all scram-sha-256\nhost other all all trust\nhost replication all all trust\n",
		"host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n",
	} {
		c.hba(t, good+asShipped)
		if f := c.finding(t, "pg_hba.conf"); f != nil {
			t.Errorf("%q: %+v", good, *f)
		}
	}
	c.hba(t, asShipped)
	// An operator may not read the file, and is told of the rest.
	exec(t, c.conn, "UPDATE fleet.settings SET days_ahead = 30")
	found, err := db.Check(t.Context(), c.Connect(t, "fleet_operator"))
	if err != nil || !slices.ContainsFunc(found, func(f db.Finding) bool { return strings.HasPrefix(f.What, "partitions are there") }) {
		t.Errorf("%v, %v", found, err)
	}
}
