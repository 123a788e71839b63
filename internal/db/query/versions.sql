-- The schema, and which migrations it has gone through. A row for each, so that one can see who did what when, and that
-- a migration was not edited after it was applied.
CREATE SCHEMA IF NOT EXISTS fleet AUTHORIZATION fleet_owner;
CREATE TABLE IF NOT EXISTS fleet.schema_versions (
	version    integer PRIMARY KEY CHECK (version > 0),
	name       text NOT NULL,
	sha256     text NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT now(),
	applied_by name NOT NULL DEFAULT session_user
);
