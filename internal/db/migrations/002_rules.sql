-- Rules, what is to run, what does run, and the states that operators give to rules. What a host runs is one hash, the
-- ruleset, and a row for each rule that differs: a row for each host and rule would be gigabytes.

CREATE TABLE fleet.rules (
	rule_id    text PRIMARY KEY CHECK (rule_id ~ '^[A-Za-z0-9_]{1,128}$'),
	name       text NOT NULL,
	attack     text[] NOT NULL DEFAULT '{}',
	changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE fleet.rule_versions (
	content_hash text PRIMARY KEY CHECK (content_hash ~ '^[0-9a-f]{64}$'),
	rule_id      text NOT NULL REFERENCES fleet.rules,
	rule_version integer NOT NULL,
	body         text NOT NULL,
	signature    bytea,
	published_at timestamptz NOT NULL DEFAULT now(),
	published_by name NOT NULL DEFAULT session_user
);
CREATE INDEX ON fleet.rule_versions (rule_id);

-- The name of a ruleset is the SHA-256 of its lines, so that nobody can say under a name what it does not hold. There are
-- those that were published, with a manifest, and those that hosts have reported from rule files of their own.
CREATE TABLE fleet.rulesets (
	ruleset      text PRIMARY KEY CHECK (ruleset ~ '^[0-9a-f]{64}$'),
	first_host   bigint REFERENCES fleet.hosts, -- that reported it; null if it was published
	manifest     text,
	signature    bytea,
	key_id       text,
	created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE fleet.ruleset_rules (
	ruleset      text NOT NULL REFERENCES fleet.rulesets ON DELETE CASCADE,
	rule_id      text NOT NULL CHECK (rule_id ~ '^[A-Za-z0-9_]{1,128}$'),
	content_hash text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
	PRIMARY KEY (ruleset, rule_id)
);
CREATE INDEX ON fleet.ruleset_rules (rule_id);
CREATE INDEX ON fleet.ruleset_rules (content_hash);

CREATE TABLE fleet.ruleset_assignments (
	scope    text NOT NULL CHECK (scope IN ('fleet', 'group', 'host')),
	scope_id bigint NOT NULL DEFAULT 0,
	ruleset  text NOT NULL REFERENCES fleet.rulesets,
	set_by   name NOT NULL DEFAULT session_user,
	set_at   timestamptz NOT NULL DEFAULT now(),
	gen      bigint NOT NULL,
	PRIMARY KEY (scope, scope_id),
	CHECK ((scope = 'fleet') = (scope_id = 0))
);

CREATE TABLE fleet.host_rulesets (
	host_id     bigint PRIMARY KEY REFERENCES fleet.hosts,
	ruleset     text NOT NULL,
	reported_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE fleet.host_rule_exceptions (
	host_id      bigint NOT NULL REFERENCES fleet.hosts,
	rule_id      text NOT NULL CHECK (rule_id ~ '^[A-Za-z0-9_]{1,128}$'),
	content_hash text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{0,64}$'), -- of the version that runs; '' if none does
	status       text NOT NULL CHECK (status ~ '^[a-z_]{1,32}$' AND status <> 'unknown'),
	error        text NOT NULL CHECK (length(error) <= 4096),
	kernel       text NOT NULL CHECK (length(kernel) <= 256),
	since        timestamptz NOT NULL,
	PRIMARY KEY (host_id, rule_id)
);

-- Generations count the operators' transactions. Whoever changes a state holds this row until its commit, so that the order of
-- generations is the order of commits: who has seen a generation has seen all before it. A sequence or a time of day
-- does not do that, since a transaction that took its number early may commit late.
--
-- The timeline names the history that generations count. A database that was restored or failed over may be at a generation that
-- agents have seen, with other states; see fleet.timeline().
CREATE TABLE fleet.state_clock (
	one         boolean PRIMARY KEY DEFAULT true CHECK (one),
	gen         bigint NOT NULL DEFAULT 1,
	timeline    uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO fleet.state_clock DEFAULT VALUES;

CREATE TABLE fleet.rule_state (
	scope          text NOT NULL CHECK (scope IN ('fleet', 'group', 'host')),
	scope_id       bigint NOT NULL DEFAULT 0, -- group_id or host_id
	rule_id        text NOT NULL CHECK (rule_id ~ '^[A-Za-z0-9_]{1,128}$'), -- of which there need be no rule yet
	state          text NOT NULL CHECK (state IN ('enabled', 'disabled', 'clipped')),
	confidence_max real CHECK (confidence_max BETWEEN 0 AND 1),
	expires_at     timestamptz CHECK (isfinite(expires_at)),
	reason         text NOT NULL CHECK (length(reason) <= 1024),
	set_by         text NOT NULL CHECK (length(set_by) <= 256),
	set_at         timestamptz NOT NULL,
	gen            bigint NOT NULL,
	deleted        boolean NOT NULL DEFAULT false, -- it stays, so that agents learn of it
	PRIMARY KEY (scope, scope_id, rule_id),
	CHECK ((scope = 'fleet') = (scope_id = 0)),
	CHECK ((state = 'clipped') = (confidence_max IS NOT NULL)),
	-- A whole fleet, or a part of it, must not be blind for longer than somebody meant it to be.
	CONSTRAINT disabled_needs_reason_and_expiry CHECK (deleted OR scope = 'host' OR state <> 'disabled' OR (reason <> '' AND expires_at IS NOT NULL))
);
CREATE INDEX ON fleet.rule_state (gen);
CREATE INDEX ON fleet.rule_state (rule_id);

CREATE TABLE fleet.rule_state_audit (
	audit_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at             timestamptz NOT NULL DEFAULT clock_timestamp(),
	by             name NOT NULL DEFAULT session_user,
	gen            bigint NOT NULL,
	action         text NOT NULL,
	scope          text NOT NULL,
	scope_id       bigint NOT NULL,
	rule_id        text NOT NULL, -- '' if it is not about a rule
	detail         jsonb NOT NULL
);
