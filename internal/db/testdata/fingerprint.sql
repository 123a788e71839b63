-- All that an attacking host must not change, in few words.
SELECT 'rows ' || c.relname || ' ' || (xpath('//row/x/text()', query_to_xml(format(
	'SELECT md5(coalesce(string_agg(r::text, chr(10) ORDER BY r::text), '''')) AS x FROM fleet.%I r%s', c.relname,
	CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'host_id') THEN ' WHERE host_id IS DISTINCT FROM ' || $1::bigint ELSE '' END),
	false, false, '')))[1]::text
FROM pg_class c WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'relations ' || count(*) || ' ' || md5(string_agg(oid::text || coalesce(relacl::text, ''), ',' ORDER BY oid)) FROM pg_class WHERE relkind <> 't'
UNION ALL
SELECT 'functions ' || count(*) || ' ' || md5(string_agg(oid::text || coalesce(proacl::text, ''), ',' ORDER BY oid)) FROM pg_proc
UNION ALL
SELECT 'types ' || count(*) FROM pg_type
UNION ALL
SELECT 'schemas ' || string_agg(nspname || coalesce(nspacl::text, ''), ' ' ORDER BY nspname) FROM pg_namespace
UNION ALL
SELECT 'large objects ' || count(*) FROM pg_largeobject_metadata
UNION ALL
SELECT 'slots ' || count(*) FROM pg_replication_slots
UNION ALL
SELECT 'roles ' || count(*) || ' ' || md5(string_agg(r::text, ',' ORDER BY r.oid)) FROM pg_authid r
WHERE r.rolname NOT IN (SELECT h.db_role FROM fleet.hosts h WHERE h.host_id = $1::bigint)
UNION ALL
SELECT 'members ' || md5(string_agg(r::text, ',' ORDER BY r.roleid, r.member)) FROM pg_auth_members r
UNION ALL
SELECT 'others'' settings ' || md5(coalesce(string_agg(s::text, ',' ORDER BY s.setrole), '')) FROM pg_db_role_setting s
WHERE s.setrole NOT IN (SELECT r.oid FROM pg_roles r JOIN fleet.hosts h ON h.db_role = r.rolname WHERE h.host_id = $1::bigint)
UNION ALL
SELECT 'locks ' || count(*) FROM pg_locks WHERE locktype = 'advisory'
ORDER BY 1
