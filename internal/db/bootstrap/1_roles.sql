-- The roles of a fleet, which belong to the whole cluster. Run again and again: it makes what is missing and takes back
-- what is too much. No role gets a password: who logs in as what is said by pg_hba.conf and certificates.

DO $$
DECLARE
	r record;
BEGIN
	FOR r IN VALUES
		('fleet_owner',    'NOLOGIN NOCREATEROLE'), -- owns the schema, and the functions that agents call
		-- Hosts' roles are made and locked by two functions of this role, so that operators need no CREATEROLE, which up to
		-- PostgreSQL 15 is as good as superuser: its holder may join pg_execute_server_program.
		('fleet_enroller', 'NOLOGIN CREATEROLE'),
		('fleet_agent',    'NOLOGIN NOCREATEROLE'), -- the group of all hosts' roles
		('fleet_migrator', 'LOGIN NOCREATEROLE'),
		('fleet_operator', 'LOGIN NOCREATEROLE'),
		('fleet_console',  'LOGIN NOCREATEROLE'),
		('fleet_maint',    'LOGIN NOCREATEROLE')
	LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r.column1) THEN
			EXECUTE format('CREATE ROLE %I', r.column1);
		END IF;
		EXECUTE format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS INHERIT %s', r.column1, r.column2);
	END LOOP;
END
$$;

-- A migrator and the maintenance become the owner by SET ROLE: partitions are detached by the owner of the table only, and
-- not from within a function.
GRANT fleet_owner TO fleet_migrator, fleet_maint;

-- The enroller puts hosts' roles into the group.
GRANT fleet_agent TO fleet_enroller WITH ADMIN OPTION;

-- From PostgreSQL 16 on, CREATEROLE is no longer enough to lock a role: it takes the admin option, which who makes a role gets. Of hosts'
-- roles that came from an older server it has none.
DO $$
DECLARE
	r record;
BEGIN
	IF current_setting('server_version_num')::integer >= 160000 THEN
		FOR r IN
			SELECT h.rolname FROM pg_catalog.pg_roles h
			WHERE h.rolname ~ '^h_[0-9a-f]{32}$' AND pg_catalog.pg_has_role(h.oid, 'fleet_agent', 'MEMBER')
				AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = h.oid AND m.member = 'fleet_enroller'::regrole AND m.admin_option)
		LOOP
			EXECUTE format('GRANT %I TO fleet_enroller WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', r.rolname);
		END LOOP;
	END IF;
END
$$;

-- The maintenance ends transactions that hosts leave open, and a revoked host's connections are ended. Others' transactions
-- are seen by members of pg_read_all_stats only.
GRANT pg_signal_backend TO fleet_enroller, fleet_maint;
GRANT pg_read_all_stats TO fleet_maint, fleet_enroller;

-- Console and operators look; a forgotten session of theirs must not hold up the vacuum.
ALTER ROLE fleet_console SET default_transaction_read_only = on;
ALTER ROLE fleet_console SET statement_timeout = '60s';
ALTER ROLE fleet_console SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE fleet_operator SET idle_in_transaction_session_timeout = '5min';
