-- The two functions that make and lock hosts' roles. They belong to fleet_enroller, so that only a superuser can put them
-- in. They change nothing but roles: rows are written by the owner's functions, which call them.
--
-- A host's role has limits of its own. Only the number of connections is a boundary: the rest a host can set for itself, and
-- what it then leaves open the maintenance ends.

CREATE SCHEMA IF NOT EXISTS fleet_role AUTHORIZATION fleet_enroller;
REVOKE ALL ON SCHEMA fleet_role FROM PUBLIC;
GRANT USAGE ON SCHEMA fleet_role TO fleet_owner;

CREATE OR REPLACE FUNCTION fleet_role.make_host(host uuid) RETURNS name
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	role name := 'h_' || replace(host::text, '-', '');
BEGIN
	EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT 2 IN ROLE fleet_agent', role);
	EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', role, '30s');
	EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', role, '5s');
	EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', role, '10s');
	EXECUTE format('ALTER ROLE %I SET search_path = pg_catalog', role);
	RETURN role;
END
$$;

CREATE OR REPLACE FUNCTION fleet_role.lock_host(host uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	role name := 'h_' || replace(host::text, '-', '');
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
		EXECUTE format('ALTER ROLE %I NOLOGIN', role);
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION fleet_role.end_host(host uuid) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(pg_catalog.pg_terminate_backend(a.pid, 0))::integer
	FROM pg_catalog.pg_stat_activity a WHERE a.usename = 'h_' || replace(host::text, '-', '')
$$;

ALTER FUNCTION fleet_role.make_host(uuid) OWNER TO fleet_enroller;
ALTER FUNCTION fleet_role.lock_host(uuid) OWNER TO fleet_enroller;
ALTER FUNCTION fleet_role.end_host(uuid) OWNER TO fleet_enroller;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA fleet_role FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fleet_role TO fleet_owner;
