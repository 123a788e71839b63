-- A host has no reason to have a transaction open for long. What it holds would hold up everybody's vacuum, and the maintenance.
SELECT count(pg_catalog.pg_terminate_backend(a.pid, 0)) FROM pg_catalog.pg_stat_activity a
WHERE a.usename ~ '^h_[0-9a-f]{32}$' AND a.datname = current_database()
	AND a.xact_start < clock_timestamp() - (SELECT s.open_s FROM fleet.settings s) * interval '1 second'
