-- Hosts, and what they say of themselves. Why a row for each kind of change: what changes at each heartbeat is kept apart
-- from what hardly ever does, in a table without an index but its key, so that each heartbeat is a HOT update.

CREATE TABLE fleet.settings (
	one                 boolean PRIMARY KEY DEFAULT true CHECK (one),
	sync_ms             integer NOT NULL DEFAULT 1000 CHECK (sync_ms BETWEEN 100 AND 600000),
	heartbeat_s         integer NOT NULL DEFAULT 30 CHECK (heartbeat_s BETWEEN 1 AND 3600),
	drain_rows_s        integer NOT NULL DEFAULT 500 CHECK (drain_rows_s > 0), -- of old records, by each host
	rows_per_call       integer NOT NULL DEFAULT 1000 CHECK (rows_per_call > 0),
	body_bytes          integer NOT NULL DEFAULT 65536 CHECK (body_bytes > 0),
	rows_per_day        bigint NOT NULL DEFAULT 2000000 CHECK (rows_per_day >= 0), -- of each host, unless its own row says otherwise
	bytes_per_day       bigint NOT NULL DEFAULT 1073741824 CHECK (bytes_per_day >= 0),
	rulesets_per_day    integer NOT NULL DEFAULT 200 CHECK (rulesets_per_day >= 0), -- that a host may be the first to report
	detection_days      integer NOT NULL DEFAULT 90 CHECK (detection_days > 0),
	late_days           integer NOT NULL DEFAULT 90 CHECK (late_days > 0),
	dead_letter_days    integer NOT NULL DEFAULT 30 CHECK (dead_letter_days > 0),
	open_s              integer NOT NULL DEFAULT 120 CHECK (open_s >= 0), -- that hosts may leave a transaction open; see maintenance
	days_ahead          integer NOT NULL DEFAULT 7 CHECK (days_ahead BETWEEN 2 AND 366)
);
INSERT INTO fleet.settings DEFAULT VALUES;

CREATE TABLE fleet.hosts (
	host_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	host_uuid    uuid NOT NULL UNIQUE,
	db_role      name NOT NULL UNIQUE,
	name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 253), -- as the operator calls it
	labels       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
	rows_per_day bigint,
	enrolled_at  timestamptz NOT NULL DEFAULT now(),
	enrolled_by  name NOT NULL DEFAULT session_user,
	revoked_at   timestamptz,
	revoked_by   name,
	resync_gen   bigint NOT NULL DEFAULT 0 -- what an agent knew before this generation was for other groups
);

-- Only the hash of a token is kept: who reads the table can't use it.
CREATE TABLE fleet.enrolment_tokens (
	token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
	host_id      bigint NOT NULL REFERENCES fleet.hosts,
	expires_at   timestamptz NOT NULL,
	used_at      timestamptz
);

-- The serial numbers of certificates, so that revoking a host can list them.
CREATE TABLE fleet.certificates (
	serial    text PRIMARY KEY,
	host_id   bigint NOT NULL REFERENCES fleet.hosts,
	issued_at timestamptz NOT NULL DEFAULT now(),
	issued_by name NOT NULL DEFAULT session_user,
	not_after timestamptz NOT NULL
);
CREATE INDEX ON fleet.certificates (host_id);

CREATE TABLE fleet.host_inventory (
	host_id       bigint PRIMARY KEY REFERENCES fleet.hosts,
	hostname      text NOT NULL,
	kernel        text NOT NULL,
	arch          text NOT NULL,
	distro        text NOT NULL,
	agent_version text NOT NULL,
	hooks         jsonb NOT NULL,
	changed_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE fleet.host_heartbeat (
	host_id        bigint PRIMARY KEY REFERENCES fleet.hosts,
	last_seen      timestamptz NOT NULL,
	interval_s     integer NOT NULL,
	boot_id        uuid,
	instance       uuid,   -- a random number of the agent's process
	applied_gen    bigint NOT NULL,
	ruleset        text NOT NULL,
	outbox_records bigint NOT NULL,
	outbox_bytes   bigint NOT NULL,
	oldest_unsent  timestamptz,
	lost_total     bigint NOT NULL,
	cpu            real NOT NULL,   -- share of one core
	rss            bigint NOT NULL, -- bytes
	clock_ms       bigint NOT NULL, -- by how much the host's clock is ahead
	publication    text NOT NULL DEFAULT '', -- that it has taken its rules from
	problem        text NOT NULL DEFAULT ''  -- the newest thing that is wrong with its link, or with its rules as a whole
) WITH (fillfactor = 50);

-- Which agents have spoken for a host. Processes come and go; two that take turns are two machines with one identity.
CREATE TABLE fleet.host_instances (
	host_id       bigint NOT NULL REFERENCES fleet.hosts,
	instance      uuid NOT NULL,
	machine_id    text NOT NULL,
	boot_id       uuid,
	address       inet,
	first_seen    timestamptz NOT NULL DEFAULT now(),
	superseded_at timestamptz, -- when another one spoke
	PRIMARY KEY (host_id, instance)
);

CREATE TABLE fleet.host_clones (
	host_id     bigint PRIMARY KEY REFERENCES fleet.hosts,
	instances   uuid[] NOT NULL,
	machine_ids text[] NOT NULL,
	addresses   inet[] NOT NULL,
	first_at    timestamptz NOT NULL DEFAULT now(),
	last_at     timestamptz NOT NULL DEFAULT now(),
	times       bigint NOT NULL DEFAULT 1
);

-- What a host has used up today.
CREATE TABLE fleet.host_usage (
	host_id  bigint PRIMARY KEY REFERENCES fleet.hosts,
	day      date NOT NULL,
	rows     bigint NOT NULL,
	bytes    bigint NOT NULL,
	rulesets integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE fleet.host_groups (
	group_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name       text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$'),
	precedence integer NOT NULL DEFAULT 0, -- of a host's groups, the highest one counts
	created_at timestamptz NOT NULL DEFAULT now(),
	created_by name NOT NULL DEFAULT session_user
);

CREATE TABLE fleet.host_group_members (
	group_id bigint NOT NULL REFERENCES fleet.host_groups,
	host_id  bigint NOT NULL REFERENCES fleet.hosts,
	PRIMARY KEY (host_id, group_id)
);
CREATE INDEX ON fleet.host_group_members (group_id);
