SELECT count(pg_catalog.pg_terminate_backend(a.pid, 0)) FROM pg_catalog.pg_stat_activity a
WHERE a.usename ~ '^h_[0-9a-f]{32}$' AND a.xact_start < now() - $1::text::interval AND a.pid <> pg_catalog.pg_backend_pid()
