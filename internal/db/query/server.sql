SELECT current_setting('server_version'), clock_timestamp(), to_regclass('fleet.schema_versions') IS NOT NULL
