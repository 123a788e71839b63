-- Who may see which rows. The first line is that hosts may touch no table at all. Row security is the second: within the
-- functions that they call, which run as the owner, a host's session sees its own rows only, whatever a function forgets.
-- Policies go by session_user, which nobody can change but a superuser.

-- Small as they are, these functions are not in SQL: such a function is planned anew at each call, one in PL/pgSQL once in a session.

-- session_host is the host that is logged in, null if it is none.
CREATE FUNCTION fleet.session_host() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (
		SELECT h.host_id FROM fleet.hosts h WHERE h.db_role = session_user AND h.revoked_at IS NULL
	);
END
$$;

-- session_is_staff tells people and programs of the database's side from hosts.
CREATE FUNCTION fleet.session_is_staff() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (
		SELECT pg_catalog.pg_has_role(session_user, 'fleet_operator', 'MEMBER')
			OR pg_catalog.pg_has_role(session_user, 'fleet_console', 'MEMBER')
			OR pg_catalog.pg_has_role(session_user, 'fleet_maint', 'MEMBER')
			OR pg_catalog.pg_has_role(session_user, 'fleet_migrator', 'MEMBER')
	);
END
$$;

-- secure puts a table under row security: 'own' if its rows are hosts', 'all' if they are everybody's. A sub-select is run once
-- for a statement, a bare call once for a row.
CREATE FUNCTION fleet.secure(relation regclass, whose text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	rows text := CASE whose
		WHEN 'own' THEN 'host_id = (SELECT fleet.session_host()) OR (SELECT fleet.session_is_staff())'
		WHEN 'role' THEN 'db_role = session_user OR (SELECT fleet.session_is_staff())'
		WHEN 'all' THEN 'true' END;
BEGIN
	EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
	EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
	EXECUTE format('CREATE POLICY owner ON %s TO fleet_owner USING (%s)', relation, rows);
	EXECUTE format('CREATE POLICY staff ON %s FOR SELECT TO fleet_operator, fleet_console USING (true)', relation);
	EXECUTE format('GRANT SELECT ON %s TO fleet_operator, fleet_console', relation);
END
$$;

SELECT fleet.secure(c.oid, CASE
		WHEN c.relname = 'hosts' THEN 'role'
		WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'host_id' AND NOT a.attisdropped) THEN 'own'
		ELSE 'all' END)
FROM pg_catalog.pg_class c
WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'schema_versions'
ORDER BY c.relname;

-- A token's hash is of no use to look at.
REVOKE SELECT ON fleet.enrolment_tokens FROM fleet_operator, fleet_console;
GRANT SELECT (host_id, expires_at, used_at) ON fleet.enrolment_tokens TO fleet_operator, fleet_console;

GRANT USAGE ON SCHEMA fleet TO fleet_agent, fleet_operator, fleet_console;
GRANT SELECT ON fleet.schema_versions TO fleet_operator, fleet_console;
GRANT UPDATE ON fleet.settings TO fleet_operator;
CREATE POLICY change ON fleet.settings FOR UPDATE TO fleet_operator USING (true);
-- Policies call these as whoever asks.
GRANT EXECUTE ON FUNCTION fleet.session_is_staff(), fleet.session_host() TO fleet_operator, fleet_console;

-- make_day makes the partition of a day. It is made as a table of its own and attached, since CREATE TABLE PARTITION OF locks
-- out everybody who reads or writes, and attaching does not; the constraint spares the scan.
CREATE FUNCTION fleet.make_day(p_day date) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_name text := 'detections_' || to_char(p_day, 'YYYYMMDD');
	v_from timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
	v_to timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
	IF EXISTS (SELECT FROM fleet.detection_days d WHERE d.day = p_day) THEN
		RETURN false;
	END IF;
	EXECUTE format('CREATE TABLE fleet.%I (LIKE fleet.detections INCLUDING DEFAULTS, CONSTRAINT in_day CHECK (event_time >= %L AND event_time < %L))', v_name, v_from, v_to);
	EXECUTE format('ALTER TABLE fleet.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
	EXECUTE format('ALTER TABLE fleet.detections ATTACH PARTITION fleet.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_from, v_to);
	EXECUTE format('ALTER TABLE fleet.%I DROP CONSTRAINT in_day', v_name);
	INSERT INTO fleet.detection_days (day, partition) VALUES (p_day, v_name);
	RETURN true;
END
$$;
