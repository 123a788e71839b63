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
	body         text NOT NULL, -- the rule with its lists, for people to read
	published_at timestamptz NOT NULL DEFAULT now(),
	published_by name NOT NULL DEFAULT session_user
);
CREATE INDEX ON fleet.rule_versions (rule_id);

-- The name of a ruleset is the SHA-256 of its lines, so that nobody can say under a name what it does not hold. There are
-- those of publications, and those that hosts have reported from rule files of their own.
CREATE TABLE fleet.rulesets (
	ruleset      text PRIMARY KEY CHECK (ruleset ~ '^[0-9a-f]{64}$'),
	first_host   bigint REFERENCES fleet.hosts, -- that reported it; null if it was published
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

-- What is published is a directory of rule files, as it is: files define lists for each other, and what is wrong is wrong in a file.
-- A publication is a manifest, which names pages by their SHA-256; a page has a line "SHA256 SIZE NAME" for each of its files.
-- So one edit of ten thousand files is two small texts and the file for each agent, and not the names of all.
CREATE TABLE fleet.blobs (
	sha256   text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
	body     bytea NOT NULL,
	added_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE fleet.publications (
	publication  text PRIMARY KEY CHECK (publication ~ '^[0-9a-f]{64}$'), -- SHA-256 of the manifest
	manifest     text NOT NULL,
	signature    bytea, -- Ed25519, of the manifest's bytes; null if it is not signed
	key_id       text NOT NULL DEFAULT '',
	content      text NOT NULL, -- SHA-256 of what the manifest says of pages: the same files are not published twice
	ruleset      text NOT NULL REFERENCES fleet.rulesets,
	published_at timestamptz NOT NULL DEFAULT now(),
	published_by name NOT NULL DEFAULT session_user,
	UNIQUE (content, key_id),
	CHECK ((signature IS NULL) = (key_id = ''))
);
CREATE INDEX ON fleet.publications (ruleset);

CREATE TABLE fleet.publication_pages (
	publication text NOT NULL REFERENCES fleet.publications ON DELETE CASCADE,
	page        text NOT NULL REFERENCES fleet.blobs,
	PRIMARY KEY (publication, page)
);
CREATE INDEX ON fleet.publication_pages (page);

-- Publications share pages, and so a row for each file of each publication is not needed.
CREATE TABLE fleet.page_files (
	page text NOT NULL REFERENCES fleet.blobs,
	file text NOT NULL REFERENCES fleet.blobs,
	PRIMARY KEY (page, file)
);
CREATE INDEX ON fleet.page_files (file);

CREATE TABLE fleet.ruleset_assignments (
	scope       text NOT NULL CHECK (scope IN ('fleet', 'group', 'host')),
	scope_id    bigint NOT NULL DEFAULT 0,
	publication text NOT NULL REFERENCES fleet.publications,
	set_by      name NOT NULL DEFAULT session_user,
	set_at      timestamptz NOT NULL DEFAULT now(),
	gen         bigint NOT NULL,
	PRIMARY KEY (scope, scope_id),
	CHECK ((scope = 'fleet') = (scope_id = 0))
);
CREATE INDEX ON fleet.ruleset_assignments (publication);

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
	reason         text NOT NULL CHECK (octet_length(reason) <= 1024),
	set_by         text NOT NULL CHECK (octet_length(set_by) <= 256),
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
