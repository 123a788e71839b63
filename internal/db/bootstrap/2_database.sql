-- What PUBLIC may do by default, and a host must not. This is said of the database, so that it is to be run in each; the
-- functions and languages are owned by the superuser, so that no other role can.

DO $$
BEGIN
	-- A temporary table fills the disk, and a temporary object may stand in for another one.
	EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
	EXECUTE format('GRANT CONNECT ON DATABASE %I TO fleet_agent, fleet_migrator, fleet_operator, fleet_console, fleet_maint', current_database());
	EXECUTE format('GRANT CREATE ON DATABASE %I TO fleet_owner', current_database());
END
$$;

-- Up to PostgreSQL 14, everybody may create in it.
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- DO, and functions of one's own.
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
REVOKE USAGE ON LANGUAGE sql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql, sql TO fleet_owner;

-- Built-in functions that leave something behind, hold something that others need, or call everybody. The list is by name,
-- for a newer PostgreSQL may have more of them.
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN
		SELECT p.oid FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace
		  AND (p.proname ~ '^lo_' OR p.proname IN ('loread', 'lowrite')         -- large objects fill the disk
		    OR p.proname ~ '^pg_(try_)?advisory_'                               -- holds the lock of migrations
		    OR p.proname IN ('pg_notify', 'pg_sleep', 'pg_sleep_for', 'pg_sleep_until', 'pg_export_snapshot')
		    OR p.proname IN ('pg_logical_emit_message', 'pg_log_standby_snapshot') -- writes to the WAL as much as it likes
		    OR p.proname ~ 'replication_slot|_logical_slot_|replication_origin'
		    OR p.proname IN ('pg_cancel_backend', 'pg_terminate_backend')       -- a host has no need to; superusers and pg_signal_backend do
		    OR p.proname IN ('query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema', 'cursor_to_xml', 'cursor_to_xmlschema',
		                     'table_to_xml', 'schema_to_xml', 'database_to_xml', 'database_to_xmlschema', 'database_to_xml_and_xmlschema',
		                     'schema_to_xmlschema', 'schema_to_xml_and_xmlschema', 'table_to_xmlschema', 'table_to_xml_and_xmlschema', 'ts_stat')
		    OR p.proname IN ('pg_control_system', 'pg_walfile_name', 'pg_current_wal_lsn')
		    OR p.proname ~ '^pg_(clear|restore)_[a-z]+_stats$'                  -- has queries planned badly
		    OR p.proname IN ('pg_available_wal_summaries', 'pg_wal_summary_contents') -- tell where others write
		    OR p.proname IN ('currtid2', 'txid_current', 'pg_current_xact_id', 'pg_stat_clear_snapshot', 'pg_stat_force_next_flush'))
	LOOP
		EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
	END LOOP;
END
$$;

-- Those who need them.
GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO fleet_migrator, fleet_maint, fleet_owner;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO fleet_maint;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO fleet_maint;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_terminate_backend(integer, bigint) TO fleet_maint, fleet_enroller;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO fleet_owner;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_walfile_name(pg_lsn) TO fleet_owner;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_current_wal_lsn() TO fleet_owner;

-- What the owner makes is nobody else's until it is granted.
ALTER DEFAULT PRIVILEGES FOR ROLE fleet_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE fleet_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE fleet_enroller REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
