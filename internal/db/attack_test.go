package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
)

// SQLSTATEs that attacks end with.
const (
	denied     = "42501" // insufficient_privilege
	noFunction = "42883"
	wrongType  = "42704"
)

// attacks are what a host may try, logged in as itself over TLS. Each is run by itself in a fresh session; the last statement
// must end with that SQLSTATE, or one of those, or succeed and return that text. After each, nothing may have changed but the attacker's own.
var attacks = []struct {
	name  string
	sql   string // statements, separated by lines of ;;
	state string
	gives string // of the last statement, if it succeeds: "" is that it does not matter
}{
	// Others' rows.
	{"read detections", "SELECT * FROM fleet.detections", denied, ""},
	{"read a partition", "SELECT format('SELECT * FROM fleet.detections_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'));;SELECT * FROM fleet.detections_late", denied, ""},
	{"read hosts", "SELECT * FROM fleet.hosts", denied, ""},
	{"read settings", "TABLE fleet.settings", denied, ""},
	{"read a view", "SELECT * FROM fleet.host_rule_status", denied, ""},
	{"read tokens", "SELECT token_sha256 FROM fleet.enrolment_tokens", denied, ""},
	{"count", "SELECT count(*) FROM fleet.detections", denied, ""},
	{"estimate by EXPLAIN", "EXPLAIN SELECT * FROM fleet.detections", denied, ""},
	{"statistics of columns", "SELECT count(*)::text FROM pg_stats WHERE schemaname = 'fleet'", "", "0"},
	{"statistics of rows", "SELECT count(*)::text FROM pg_statistic", denied, ""},
	{"copy out", "COPY fleet.detections TO STDOUT", denied, ""},
	{"insert", "INSERT INTO fleet.detections_late SELECT", denied, ""},
	{"update", "UPDATE fleet.rule_state SET state = 'disabled'", denied, ""},
	{"delete", "DELETE FROM fleet.detections", denied, ""},
	{"truncate", "TRUNCATE fleet.detections", denied, ""},
	{"drop", "DROP TABLE fleet.detections", denied, ""},
	{"lock", "BEGIN;;LOCK TABLE fleet.state_clock IN ACCESS SHARE MODE", denied, ""},
	{"lock a row", "SELECT * FROM fleet.state_clock FOR UPDATE", denied, ""},
	{"sequence", "SELECT nextval('fleet.hosts_host_id_seq')", denied, ""},
	{"by row type", "SELECT (NULL::fleet.hosts).name", "", ""},
	{"row security off", "SET row_security = off;;SELECT * FROM fleet.hosts", denied, ""},

	// Being somebody else.
	{"set a variable", "SET app.host_id = 'VICTIM_ID';;SET fleet.host_id = 'VICTIM_ID';;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
	{"set a variable and report", "SET app.host_id = 'VICTIM_ID';;SET app.role = 'VICTIM_ROLE';;SELECT known FROM fleet.agent_report_v1(repeat('1', 64), NULL, NULL)", "", "f"},
	{"set a variable and say hello", "SET app.role = 'VICTIM_ROLE';;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
	{"set_config", "SELECT set_config('session_authorization', 'VICTIM_ROLE', false)", denied, ""},
	{"SET ROLE victim", "SET ROLE VICTIM_ROLE", denied, ""},
	{"SET ROLE owner", "SET ROLE fleet_owner", denied, ""},
	{"SET ROLE superuser", "SET ROLE postgres", denied, ""},
	{"SET ROLE group", "SET ROLE fleet_agent;;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
	{"session authorization", "SET SESSION AUTHORIZATION VICTIM_ROLE", denied, ""},
	{"role's setting", "ALTER ROLE VICTIM_ROLE SET search_path = public", denied, ""},
	{"own connection limit", "ALTER ROLE ATTACKER_ROLE CONNECTION LIMIT 100", denied, ""},
	{"own default role", "ALTER ROLE ATTACKER_ROLE SET role = 'VICTIM_ROLE';;SELECT 'is refused at the next login'", "", ""},
	{"join", "GRANT fleet_owner TO ATTACKER_ROLE", denied, ""},
	{"grant own group", "GRANT fleet_agent TO VICTIM_ROLE", denied, ""},
	{"make a role", "CREATE ROLE h_evil", denied, ""},
	{"drop the victim", "DROP ROLE VICTIM_ROLE", denied, ""},
	{"default privileges", "ALTER DEFAULT PRIVILEGES FOR ROLE fleet_owner GRANT SELECT ON TABLES TO PUBLIC", denied, ""},

	// What others may call.
	{"set a state", "SELECT fleet.set_state_v1('fleet', NULL, 'BT0001', 'disabled', NULL, '1 hour', 'x')", denied, ""},
	{"enrol", "SELECT fleet.enroll_host_v1('x', '{}', '', '1 day')", denied, ""},
	{"revoke the victim", "SELECT fleet.revoke_host_v1('VICTIM_ROLE')", denied, ""},
	{"publish", "SELECT fleet.publish_v1('', NULL, '', NULL)", denied, ""},
	{"hold up publishers", "SELECT fleet.begin_publish_v1('', '')", denied, ""},
	{"lock publishers out", "BEGIN;;LOCK TABLE fleet.publications IN SHARE MODE", denied, ""},
	{"put a blob", "SELECT fleet.put_blobs_v1(ARRAY['x'::bytea])", denied, ""},
	{"put a version of a rule", "SELECT fleet.put_versions_v1('[]')", denied, ""},
	{"which blobs there are", "SELECT fleet.missing_blobs_v1(ARRAY['SECRET_BLOB'])", denied, ""},
	{"which versions there are", "SELECT fleet.missing_versions_v1(ARRAY['x'])", denied, ""},
	{"assign", "SELECT fleet.assign_v1('fleet', NULL, NULL)", denied, ""},
	{"insert a blob", "INSERT INTO fleet.blobs (sha256, body) VALUES (repeat('0', 64), '')", denied, ""},
	{"change a blob", "UPDATE fleet.blobs SET body = ''", denied, ""},
	{"insert a publication", "INSERT INTO fleet.publications SELECT", denied, ""},
	{"read blobs", "SELECT * FROM fleet.blobs", denied, ""},
	{"read publications", "SELECT * FROM fleet.publications", denied, ""},
	{"read assignments", "SELECT * FROM fleet.ruleset_assignments", denied, ""},
	{"the victim's file", "SELECT count(*)::text FROM fleet.agent_blobs_v1(ARRAY['SECRET_BLOB'])", "", "0"},
	{"the victim's page", "SELECT count(*)::text FROM fleet.agent_blobs_v1(ARRAY['SECRET_PAGE'])", "", "0"},
	{"the victim's manifest", "SELECT count(*)::text FROM fleet.agent_manifest_v1(NULL)", "", "0"},
	{"the victim's file by variables", "SET app.host_id = 'VICTIM_ID';;SET app.role = 'VICTIM_ROLE';;SELECT count(*)::text FROM fleet.agent_blobs_v1(ARRAY['SECRET_BLOB'])", "", "0"},
	{"inner publication", "SELECT fleet.host_publication(VICTIM_ID)", denied, ""},
	{"many blobs by one call", "SELECT fleet.agent_blobs_v1(array_fill('x'::text, ARRAY[501]))", "22023", ""},
	{"a table of blobs", "SELECT fleet.agent_blobs_v1(array_fill('x'::text, ARRAY[30, 30]))", "22023", ""},
	{"inner heartbeat", "SELECT fleet.put_heartbeat(VICTIM_ID, '{}')", denied, ""},
	{"inner states", "SELECT fleet.host_states(VICTIM_ID, 0, now())", denied, ""},
	{"inner spend", "SELECT fleet.spend(VICTIM_ID, 1000000000, 0, 0)", denied, ""},
	{"make a partition", "SELECT fleet.make_day('2000-01-01')", denied, ""},
	{"make a host's role", "SELECT fleet_role.make_host(gen_random_uuid())", denied, ""},

	// Code of one's own.
	{"DO", "DO $$ BEGIN END $$", denied, ""},
	{"SQL function", "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", denied, ""},
	{"temporary function", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", denied, ""},
	{"C function", "CREATE FUNCTION public.f() RETURNS int LANGUAGE c AS 'libc.so.6', 'getpid'", denied, ""},
	{"temporary table", "CREATE TEMP TABLE hosts (host_id bigint, db_role name, revoked_at timestamptz)", denied, ""},
	{"SELECT INTO TEMP", "SELECT 1 INTO TEMP x", denied, ""},
	{"temporary view", "CREATE TEMP VIEW hosts AS SELECT 1", denied, ""},
	{"temporary type", "CREATE TYPE pg_temp.name AS (a int)", denied, ""},
	{"operator", "CREATE OPERATOR pg_temp.= (LEFTARG = name, RIGHTARG = name, FUNCTION = nameeq)", denied, ""},
	{"cast", "CREATE CAST (text AS name) WITH INOUT AS IMPLICIT", denied, ""},
	{"schema", "CREATE SCHEMA evil", denied, ""},
	{"table", "CREATE TABLE public.x ()", denied, ""},
	{"extension", "CREATE EXTENSION dblink", denied, ""},
	{"untrusted language", "CREATE LANGUAGE plpython3u", "0A000|" + denied, ""}, // that it is not there, or, where it is
	{"event trigger", "CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()", denied, ""},
	{"publication", "CREATE PUBLICATION p", denied, ""},
	{"subscription", "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)", denied, ""},
	{"foreign server", "CREATE SERVER s FOREIGN DATA WRAPPER nowhere", wrongType, ""},
	{"search path", "SET search_path = pg_temp, public, fleet;;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
	{"= NULL is IS NULL", "SET transform_null_equals = on;;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
	{"load", "LOAD 'auto_explain'", denied, ""},
	{"preload", "SET session_preload_libraries = 'x'", denied, ""},
	{"replica mode", "SET session_replication_role = replica", denied, ""},

	// The server's files and programs.
	{"COPY PROGRAM", "COPY (SELECT 1) TO PROGRAM 'id'", denied, ""},
	{"COPY from a file", "COPY fleet.hosts FROM '/etc/passwd'", denied, ""},
	{"COPY to a file", "COPY (SELECT 1) TO '/tmp/x'", denied, ""},
	{"pg_read_file", "SELECT pg_read_file('/etc/passwd')", denied, ""},
	{"pg_read_binary_file", "SELECT pg_read_binary_file('PG_VERSION')", denied, ""},
	{"pg_ls_dir", "SELECT pg_ls_dir('.')", denied, ""},
	{"pg_stat_file", "SELECT pg_stat_file('PG_VERSION')", denied, ""},
	{"pg_hba", "SELECT * FROM pg_hba_file_rules", denied, ""},
	{"passwords", "SELECT * FROM pg_authid", denied, ""},
	{"secret settings", "SHOW data_directory", denied, ""},
	{"reload", "SELECT pg_reload_conf()", denied, ""},
	{"ALTER SYSTEM", "ALTER SYSTEM SET fsync = off", denied, ""},
	{"checkpoint", "CHECKPOINT", denied, ""},
	{"dblink", "SELECT dblink('host=127.0.0.1', 'SELECT 1')", noFunction, ""},
	{"large object", "SELECT lo_creat(-1)", denied, ""},
	{"large object by id", "SELECT lo_create(1)", denied, ""},
	{"large object by bytes", "SELECT lo_from_bytea(0, 'x')", denied, ""},
	{"large object from a file", "SELECT lo_import('/etc/passwd')", denied, ""},
	{"fill the WAL", "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))", denied, ""},
	{"replication slot", "SELECT pg_create_physical_replication_slot('x', true)", denied, ""},

	// Others' work.
	{"advisory lock", "SELECT pg_advisory_lock(1)", denied, ""},
	{"the lock of migrations", "SELECT pg_advisory_xact_lock(7091327131538583041)", denied, ""},
	{"shared advisory lock", "SELECT pg_try_advisory_lock_shared(1, 2)", denied, ""},
	{"sleep", "SELECT pg_sleep(1000)", denied, ""},
	{"notify function", "SELECT pg_notify('a', 'b')", denied, ""},
	{"export a snapshot", "SELECT pg_export_snapshot()", denied, ""},
	{"cancel others", "SELECT pg_cancel_backend(pid) FROM pg_stat_activity", denied, ""},
	{"terminate others", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity", denied, ""},
	{"others' queries", "SELECT count(*)::text FROM pg_stat_activity WHERE usename <> session_user AND query <> '<insufficient privilege>'", "", "0"},
	{"others' addresses", "SELECT count(*)::text FROM pg_stat_activity WHERE usename <> session_user AND client_addr IS NOT NULL", "", "0"},
	{"prepared transaction", "BEGIN;;PREPARE TRANSACTION 'x'", "55000", ""},
	{"lock a catalog", "BEGIN;;LOCK TABLE pg_catalog.pg_class IN SHARE MODE", denied, ""},
	{"vacuum a catalog", "VACUUM FULL pg_catalog.pg_class;;SELECT 'is skipped with a warning'", "", ""},
	{"reindex", "REINDEX TABLE fleet.hosts", denied, ""},
	{"cluster", "CLUSTER fleet.hosts USING hosts_pkey", denied, ""},
	{"own password", "ALTER ROLE ATTACKER_ROLE PASSWORD 'x';;SELECT 'is of no use: pg_hba.conf asks for a certificate'", "", ""},
	{"statistics", "SELECT pg_stat_reset()", denied, ""},
	// What newer servers bring along; older ones know no such function.
	{"clear statistics", "SELECT pg_clear_relation_stats('fleet', 'hosts')", denied + "|" + noFunction, ""},
	{"clear a catalog's statistics", "SELECT pg_clear_attribute_stats('pg_catalog', 'pg_class', 'relname', false)", denied + "|" + noFunction, ""},
	{"restore statistics", "SELECT pg_restore_relation_stats('schemaname', 'fleet', 'relname', 'hosts', 'reltuples', 1e9::real)", denied + "|" + noFunction, ""},
	{"where others write", "SELECT pg_available_wal_summaries()", denied + "|" + noFunction, ""},
	{"comment", "COMMENT ON TABLE fleet.hosts IS 'x'", denied, ""},
	{"database", "CREATE DATABASE x", denied, ""},
	{"temporary files without bound", "SET temp_file_limit = -1", denied, ""},
	{"analyze others' tables", "ANALYZE fleet.hosts;;SELECT 'is skipped with a warning'", "", ""},
	{"discard", "DISCARD ALL;;SELECT host_id::text FROM fleet.agent_hello_v1('{}')", "", "ATTACKER_ID"},
}

func TestAttacks(t *testing.T) {
	f := newFleet(t)
	attacker, victim := f.enroll("attacker"), f.host("victim")
	detections(3, `{"secret": 1}`).wantSent(t, victim.conn, [3]int{3, 0, 0})
	one[bool](t, victim.conn, "SELECT known FROM fleet.agent_report_v1(repeat('0', 64), NULL, '[]')")
	if row(t, victim.conn, `SELECT * FROM fleet.agent_hello_v1('{"hostname": "victim"}')`)["host_id"] != float64(victim.HostID) {
		t.Fatal("the victim is somebody else")
	}
	exec(t, victim.conn, "SELECT fleet.agent_sync_v1(0, NULL, '{}')")
	secret := f.publish(map[string]string{"SECRET": "what only the victim is to run"})
	exec(t, f.ops, "SELECT fleet.assign_v1('host', 'victim', $1)", secret.id)
	if blobs, err := db.ReadBlobs(t.Context(), victim.conn, []string{contentHash("what only the victim is to run")}); err != nil || len(blobs) != 1 {
		t.Fatalf("the victim gets %q, %v", blobs, err)
	}
	names := strings.NewReplacer("SECRET_BLOB", contentHash("what only the victim is to run"), "SECRET_PAGE", contentHash(string(secret.pages[0])),
		"VICTIM_ID", itoa(victim.HostID), "VICTIM_ROLE", victim.Role, "ATTACKER_ROLE", attacker.Role, "ATTACKER_ID", itoa(attacker.HostID))
	before := f.fingerprint(t, attacker.HostID)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), attacker.dsn)
			if err != nil {
				t.Fatal(err)
			}
			// A session's settings must not reach the next attack.
			defer conn.Close(t.Context())
			parts := strings.Split(names.Replace(a.sql), ";;")
			for _, sql := range parts[:len(parts)-1] {
				exec(t, conn, sql)
			}
			last := parts[len(parts)-1]
			results, err := conn.PgConn().Exec(t.Context(), last).ReadAll()
			if !slices.Contains(strings.Split(a.state, "|"), state(err)) {
				t.Errorf("%s: got %v, want SQLSTATE %q", last, err, a.state)
			}
			if a.gives != "" && (len(results) != 1 || len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != names.Replace(a.gives)) {
				t.Errorf("%s: got %v, want %s", last, results, a.gives)
			}
			if after := f.fingerprint(t, attacker.HostID); after != before {
				t.Errorf("it changed something: before\n%s\nafter\n%s", before, after)
				before = after
			}
		})
	}
}

// fingerprint sums up what is not an attacker's own: all rows, objects, roles and settings of others.
func (f *fleet) fingerprint(t *testing.T, attacker int64) string {
	t.Helper()
	return strings.Join(lines(t, f.super, "fingerprint.sql", attacker), "\n")
}
