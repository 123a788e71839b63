-- Built-in functions that may have effects and that fleet_agent may call. They are of one major version of PostgreSQL.
SELECT f.oid::regprocedure::text FROM pg_proc f
WHERE f.pronamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND f.provolatile = 'v'
	AND f.prorettype <> 'trigger'::regtype AND f.prorettype <> 'event_trigger'::regtype AND f.prorettype <> 'internal'::regtype
	AND has_function_privilege('fleet_agent', f.oid, 'EXECUTE')
	AND NOT 'internal'::regtype = ANY (f.proargtypes)
ORDER BY f.oid::regprocedure::text COLLATE "C"
