-- What is wrong with pg_hba.conf: severity, what, and what to do. Only who may read it may run this. A host comes over a network as its own role,
-- and must have a certificate. What is in the file counts from the next reload on.
WITH host AS (
	SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname ~ '^h_[0-9a-f]{32}$' AND pg_catalog.pg_has_role(r.oid, 'fleet_agent', 'MEMBER')
	UNION ALL SELECT 'h_00000000000000000000000000000000' -- one to come
), groups AS ( -- that hosts are in
	SELECT g.rolname FROM pg_catalog.pg_roles g WHERE pg_catalog.pg_has_role('fleet_agent', g.oid, 'MEMBER') AND NOT g.rolsuper
), line AS ( -- those that hosts may meet on their way into this database
	SELECT r.number, r.line_number, r.type, r.auth_method AS method, coalesce(r.options, '{}') AS options, coalesce(r.address, '') AS address, coalesce(r.netmask, '') AS netmask,
		EXISTS (SELECT FROM unnest(r.user_name) u(name) WHERE u.name = 'all' OR u.name IN (SELECT '+' || rolname FROM groups)) AS all_hosts
	FROM (SELECT row_number() OVER () AS number, f.* FROM pg_catalog.pg_hba_file_rules f) r -- lines of included files have numbers of their own
	WHERE r.error IS NULL AND r.type <> 'local'
		AND EXISTS (SELECT FROM unnest(r.database) d(name) WHERE d.name IN ('all', current_database())
			OR (d.name LIKE '/%' AND current_setting('server_version_num')::integer >= 160000 AND current_database() ~ pg_catalog.substr(d.name, 2)))
		AND EXISTS (SELECT FROM unnest(r.user_name) u(name) WHERE u.name = 'all' OR u.name IN (SELECT '+' || rolname FROM groups) OR u.name IN (SELECT rolname FROM host)
			OR (u.name LIKE '/%' AND current_setting('server_version_num')::integer >= 160000 AND EXISTS (SELECT FROM host WHERE rolname ~ pg_catalog.substr(u.name, 2))))
), judged AS (
	SELECT l.*, l.address LIKE '%:%' AS v6, l.address IN ('0.0.0.0', '::') AND l.netmask IN ('0.0.0.0', '::') AS whole,
		l.type = 'hostssl' AND (l.method = 'cert' OR 'clientcert=verify-full' = ANY (l.options)) AS good,
		l.address IN ('127.0.0.1', '::1', 'samehost') AS loopback
	FROM line l
), hint AS (
	SELECT 'begin pg_hba.conf with "hostssl ' || current_database() || ' +fleet_agent all cert" and "host all +fleet_agent all reject"; SELECT pg_reload_conf()' AS text
)
SELECT 'error', 'line ' || r.line_number || ' of pg_hba.conf is wrong, and a reload would not take it: ' || r.error, '' FROM pg_catalog.pg_hba_file_rules r WHERE r.error IS NOT NULL
UNION ALL
SELECT 'error', 'no line of pg_hba.conf lets hosts in with their certificates', hint.text FROM hint WHERE NOT EXISTS (SELECT FROM judged WHERE good)
UNION ALL
SELECT 'error', 'line ' || j.line_number || ' of pg_hba.conf lets hosts in without a certificate, by ' || j.method, hint.text
FROM judged j, hint
WHERE NOT j.good AND j.method <> 'reject'
	-- On the server itself a host would need a password, which it has not.
	AND (j.method = 'trust' OR NOT j.loopback)
	-- A line before it that takes all who come that way.
	AND NOT EXISTS (SELECT FROM judged e WHERE e.number < j.number AND e.all_hosts
		AND (e.address = 'all' OR (e.whole AND e.v6 = j.v6 AND j.netmask <> '')) AND (e.type = 'host' OR e.type = j.type) AND (e.good OR e.method = 'reject'))
ORDER BY 1, 2
