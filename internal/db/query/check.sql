-- What is wrong with a fleet's database: severity, what, and what to do. Anybody of the staff may run it.
WITH host AS (
	SELECT r.* FROM pg_catalog.pg_roles r WHERE r.rolname ~ '^h_[0-9a-f]{32}$' AND pg_catalog.pg_has_role(r.oid, 'fleet_agent', 'MEMBER')
), granted AS ( -- what hosts have beside PUBLIC's
	SELECT p.oid::pg_catalog.regprocedure::text AS what, p.pronamespace = 'fleet'::regnamespace AND p.proname ~ '^(agent|ingest)_[a-z_]*v[0-9]+$' AS right
	FROM pg_catalog.pg_proc p, LATERAL pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
	WHERE (a.grantee = 'fleet_agent'::regrole OR a.grantee IN (SELECT oid FROM host) OR (a.grantee = 0 AND p.pronamespace <> 'pg_catalog'::regnamespace
		AND p.pronamespace <> 'information_schema'::regnamespace))
)
SELECT 'error', 'hosts may call ' || what, 'REVOKE EXECUTE ON FUNCTION ' || what || ' FROM PUBLIC, fleet_agent' FROM granted WHERE NOT granted.right
UNION ALL
SELECT 'error', 'hosts may touch table ' || c.oid::pg_catalog.regclass, 'REVOKE ALL ON ' || c.oid::pg_catalog.regclass || ' FROM PUBLIC, fleet_agent'
FROM pg_catalog.pg_class c, LATERAL pg_catalog.aclexplode(c.relacl) a
WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
	AND (a.grantee IN (0, 'fleet_agent'::regrole) OR a.grantee IN (SELECT oid FROM host))
UNION ALL
SELECT 'error', 'everybody may use language ' || l.lanname, 'run bittern db migrate as a superuser'
FROM pg_catalog.pg_language l WHERE l.lanpltrusted AND pg_catalog.has_language_privilege('fleet_agent', l.oid, 'USAGE')
UNION ALL
SELECT 'error', 'hosts may call built-in function ' || p.oid::pg_catalog.regprocedure, 'run bittern db migrate as a superuser'
FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
	AND (p.proname ~ '^lo_' OR p.proname ~ '^pg_(try_)?advisory_' OR p.proname IN ('loread', 'lowrite', 'pg_notify', 'pg_logical_emit_message', 'pg_read_file', 'pg_ls_dir'))
	AND pg_catalog.has_function_privilege('fleet_agent', p.oid, 'EXECUTE')
UNION ALL
SELECT 'error', 'hosts have ' || p || ' on database ' || current_database(), 'run bittern db migrate as a superuser'
FROM pg_catalog.unnest(ARRAY['CREATE', 'TEMP']) p WHERE pg_catalog.has_database_privilege('fleet_agent', current_database(), p)
UNION ALL
SELECT 'error', 'everybody may connect to database ' || current_database(), 'run bittern db migrate as a superuser'
FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
WHERE d.datname = current_database() AND a.grantee = 0
UNION ALL
-- There they could do all that was taken from PUBLIC here. A database that lets hosts in by name may be another fleet's, where that is done.
SELECT CASE WHEN g.grantee = 'fleet_agent' THEN 'warning' ELSE 'error' END,
	CASE g.grantee WHEN 'PUBLIC' THEN 'everybody' WHEN 'fleet_agent' THEN 'hosts' ELSE 'host role ' || g.grantee END || ' may connect to database ' || d.datname,
	'REVOKE CONNECT ON DATABASE ' || quote_ident(d.datname) || ' FROM ' || g.grantee
FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a,
	LATERAL (SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee) g
WHERE d.datname <> current_database() AND d.datallowconn AND a.privilege_type = 'CONNECT'
	AND (a.grantee IN (0, 'fleet_agent'::regrole) OR a.grantee IN (SELECT oid FROM host))
UNION ALL
SELECT 'error', 'role ' || r.rolname || ' has more power than it should: ' || pg_catalog.concat_ws(', ', CASE WHEN r.rolsuper THEN 'superuser' END,
	CASE WHEN r.rolcreaterole AND r.rolname <> 'fleet_enroller' THEN 'createrole' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
	CASE WHEN r.rolreplication THEN 'replication' END, CASE WHEN r.rolbypassrls THEN 'bypassrls' END), 'ALTER ROLE takes it back'
FROM pg_catalog.pg_roles r
WHERE (r.rolname IN ('fleet_owner', 'fleet_enroller', 'fleet_agent', 'fleet_migrator', 'fleet_operator', 'fleet_console', 'fleet_maint') OR r.oid IN (SELECT oid FROM host))
	AND (r.rolsuper OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls OR (r.rolcreaterole AND r.rolname <> 'fleet_enroller'))
UNION ALL
SELECT 'error', 'role ' || h.rolname || ' is a member of ' || g.rolname, 'REVOKE ' || g.rolname || ' FROM ' || h.rolname
FROM host h JOIN pg_catalog.pg_auth_members m ON m.member = h.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE g.rolname <> 'fleet_agent'
UNION ALL
SELECT 'error', 'role fleet_agent is a member of ' || g.rolname, 'REVOKE ' || g.rolname || ' FROM fleet_agent'
FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = 'fleet_agent'::regrole
UNION ALL
SELECT 'error', 'role ' || h.rolname || ' may have ' || h.rolconnlimit || ' connections', 'ALTER ROLE ' || h.rolname || ' CONNECTION LIMIT 2'
FROM host h WHERE h.rolconnlimit <> 2
UNION ALL
SELECT 'error', 'host ' || o.name || ' is revoked, and its role ' || h.rolname || ' can log in', 'bittern db revoke ' || o.host_uuid
FROM host h JOIN fleet.hosts o ON o.db_role = h.rolname WHERE h.rolcanlogin AND o.revoked_at IS NOT NULL
UNION ALL
SELECT 'error', 'host ' || o.name || ' is enrolled, and has no role that can log in', 'enrol it again'
FROM fleet.hosts o LEFT JOIN pg_catalog.pg_roles h ON o.db_role = h.rolname WHERE o.revoked_at IS NULL AND h.rolcanlogin IS NOT TRUE
UNION ALL
SELECT 'error', 'row security is not forced on ' || c.oid::pg_catalog.regclass, 'ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'
FROM pg_catalog.pg_class c WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_versions'
	AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
UNION ALL
SELECT 'error', p.oid::pg_catalog.regprocedure || ' runs as its owner, and ' || CASE WHEN r.rolsuper THEN 'that is a superuser' ELSE 'has no search_path of its own' END,
	'run bittern db migrate as a superuser'
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
WHERE p.pronamespace IN (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('fleet', 'fleet_role')) AND p.prosecdef
	AND (r.rolsuper OR NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false))
UNION ALL
SELECT CASE WHEN s.ahead < 2 THEN 'error' ELSE 'warning' END, 'partitions are there for ' || s.ahead || ' days from today on, of ' || s.days_ahead, 'run bittern db maintain, each day'
FROM (SELECT x.days_ahead, (SELECT count(*) FROM fleet.detection_days d WHERE d.day >= (now() AT TIME ZONE 'UTC')::date) AS ahead FROM fleet.settings x) s
WHERE s.ahead < s.days_ahead
UNION ALL
-- Records of such a day wait, since it may be one that is being removed.
SELECT 'error', 'partition ' || d.partition || ' is not there, and records of its day wait', 'DELETE FROM fleet.detection_days WHERE partition = ' || quote_literal(d.partition) || '; run bittern db maintain'
FROM fleet.detection_days d
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'fleet.detections'::regclass AND c.relname = d.partition)
UNION ALL
SELECT 'error', 'partition ' || i.inhrelid::pg_catalog.regclass || ' is half detached', 'run bittern db maintain'
FROM pg_catalog.pg_inherits i WHERE i.inhdetachpending AND i.inhparent = 'fleet.detections'::regclass
UNION ALL
SELECT 'warning', 'two machines use the identity of host ' || o.name || ', the last time at ' || c.last_at, 'enrol one of them anew'
FROM fleet.host_clones c JOIN fleet.hosts o USING (host_id) WHERE c.last_at > now() - interval '1 day'
UNION ALL
-- From PostgreSQL 16 on, who is to lock a role needs its admin option. The roles of an older server came without.
SELECT 'error', 'role ' || h.rolname || ' can''t be locked', 'run bittern db migrate as a superuser'
FROM host h WHERE current_setting('server_version_num')::integer >= 160000
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = h.oid AND m.member = 'fleet_enroller'::regrole AND m.admin_option)
UNION ALL
SELECT 'warning', 'one query may fill the disk with temporary files', 'ALTER SYSTEM SET temp_file_limit = ''1GB''; SELECT pg_reload_conf()'
FROM pg_catalog.pg_settings s WHERE s.name = 'temp_file_limit' AND s.setting = '-1'
UNION ALL
-- A host forgets a record when its commit is told.
SELECT 'warning', s.name || ' is off: a crash of the server loses records that hosts have delivered', 'ALTER SYSTEM SET ' || s.name || ' = on; SELECT pg_reload_conf()'
FROM pg_catalog.pg_settings s WHERE s.name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND s.setting = 'off'
UNION ALL
SELECT 'error', 'ssl is off, so that no host can log in with its certificate', 'ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()'
FROM pg_catalog.pg_settings s WHERE s.name = 'ssl' AND s.setting = 'off'
UNION ALL
SELECT 'warning', 'max_connections is ' || m.most || ', which is too small for ' || m.hosts || ' hosts with two connections each, and ' || m.others || ' for others',
	'ALTER SYSTEM SET max_connections = ' || 2 * m.hosts + m.others || '; restart the server'
FROM (SELECT current_setting('max_connections')::integer AS most, (SELECT count(*) FROM fleet.hosts o WHERE o.revoked_at IS NULL) AS hosts,
	-- reserved_connections is there from PostgreSQL 16 on.
	10 + current_setting('superuser_reserved_connections')::integer + coalesce(current_setting('reserved_connections', true), '0')::integer AS others) m
WHERE m.hosts > 0 AND m.most < 2 * m.hosts + m.others
ORDER BY 1, 2
