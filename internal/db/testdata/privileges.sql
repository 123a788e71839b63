-- All that a role may touch, one line each: as fleet_agent has it, or as a host's role has beside that. What PUBLIC has of
-- PostgreSQL itself is left to privileges_builtin.sql.
WITH who AS (SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname = $1),
ours AS (SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)')
SELECT 'schema ' || n.nspname || ': ' || p FROM ours n, unnest(ARRAY['USAGE', 'CREATE']) p, who w WHERE has_schema_privilege(w.oid, n.oid, p)
UNION ALL
SELECT 'schema ' || n || ': CREATE' FROM unnest(ARRAY['pg_catalog', 'information_schema']) n, who w WHERE has_schema_privilege(w.oid, n, 'CREATE')
UNION ALL
SELECT 'function ' || f.oid::regprocedure || ': EXECUTE' FROM pg_proc f JOIN ours n ON n.oid = f.pronamespace, who w
WHERE has_function_privilege(w.oid, f.oid, 'EXECUTE')
UNION ALL
SELECT 'relation ' || c.oid::regclass || ': ' || p FROM pg_class c JOIN ours n ON n.oid = c.relnamespace,
	unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']
		|| CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ARRAY['MAINTAIN'] END) p, who w
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(w.oid, c.oid, p)
UNION ALL
SELECT 'column ' || c.oid::regclass || '.' || a.attname || ': ' || p FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p, who w
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_column_privilege(w.oid, c.oid, a.attnum, p) AND NOT has_table_privilege(w.oid, c.oid, p)
UNION ALL
SELECT 'catalog ' || c.oid::regclass || ': ' || p FROM pg_class c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p, who w
WHERE c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND c.relkind IN ('r', 'v')
	AND c.oid::regclass::text <> 'pg_settings' -- an update of it is a SET
	AND has_table_privilege(w.oid, c.oid, p)
UNION ALL
SELECT 'sequence ' || c.oid::regclass || ': ' || p FROM pg_class c JOIN ours n ON n.oid = c.relnamespace, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p, who w
WHERE c.relkind = 'S' AND has_sequence_privilege(w.oid, c.oid, p)
UNION ALL
SELECT 'type ' || t.oid::regtype || ': USAGE' FROM pg_type t JOIN ours n ON n.oid = t.typnamespace, who w
WHERE has_type_privilege(w.oid, t.oid, 'USAGE') AND t.typelem = 0
	AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c') -- a table's rows: who may not read them has no use of it
UNION ALL
SELECT 'language ' || l.lanname || ': USAGE' FROM pg_language l, who w WHERE has_language_privilege(w.oid, l.oid, 'USAGE') AND l.lanpltrusted
UNION ALL
SELECT 'this database: ' || p FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMP']) p, who w WHERE has_database_privilege(w.oid, current_database(), p)
UNION ALL
SELECT 'tablespace ' || s.spcname || ': CREATE' FROM pg_tablespace s, who w WHERE has_tablespace_privilege(w.oid, s.oid, 'CREATE')
UNION ALL
SELECT 'foreign server ' || s.srvname || ': USAGE' FROM pg_foreign_server s, who w WHERE has_server_privilege(w.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'foreign-data wrapper ' || s.fdwname || ': USAGE' FROM pg_foreign_data_wrapper s, who w WHERE has_foreign_data_wrapper_privilege(w.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'large object ' || o.oid || ' is there' FROM pg_largeobject_metadata o
UNION ALL
SELECT 'member of ' || r.rolname FROM pg_roles r, who w WHERE pg_has_role(w.oid, r.oid, 'MEMBER') AND r.oid <> w.oid
	-- From PostgreSQL 16 on, the enroller administers the roles that it makes. It must not have what they have.
	AND NOT (w.rolname = 'fleet_enroller' AND r.rolname ~ '^h_[0-9a-f]{32}$' AND NOT pg_has_role(w.oid, r.oid, 'USAGE'))
UNION ALL
SELECT 'attribute ' || a.name FROM who w JOIN pg_roles r USING (oid), LATERAL (VALUES ('superuser', r.rolsuper), ('createdb', r.rolcreatedb),
	('createrole', r.rolcreaterole), ('replication', r.rolreplication), ('bypassrls', r.rolbypassrls), ('login', r.rolcanlogin)) a(name, has) WHERE a.has
UNION ALL
SELECT 'connection limit ' || r.rolconnlimit FROM who w JOIN pg_roles r USING (oid) WHERE r.rolconnlimit >= 0
UNION ALL
SELECT 'default ' || setting FROM who w JOIN pg_db_role_setting s ON s.setrole = w.oid, unnest(s.setconfig) setting
ORDER BY 1
