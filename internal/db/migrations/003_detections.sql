-- What hosts deliver. Detections are in a partition for each day (UTC), without foreign keys, so that a day goes by detaching
-- and dropping its table. There is no default partition: with one nothing could be detached concurrently.
-- Every unique key holds the host and the time, so that the table could be distributed.

CREATE TABLE fleet.detections (
	host_id      bigint NOT NULL,
	event_time   timestamptz NOT NULL,
	detection_id uuid NOT NULL,
	kind         text NOT NULL, -- detection, repeats, gap, rule_report, state_change, or what is to come
	rule_id      text NOT NULL,
	content_hash text NOT NULL,
	severity     text NOT NULL,
	confidence   real,
	attack       text[] NOT NULL,
	count        bigint NOT NULL,
	body         jsonb NOT NULL,
	segment      uuid NOT NULL, -- the outbox that it came from
	seq          bigint NOT NULL,
	received_at  timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (host_id, event_time, detection_id)
) PARTITION BY RANGE (event_time);
-- A partition's rows come in the order of time, so that this small index does for questions about all hosts.
CREATE INDEX ON fleet.detections USING brin (event_time);
CREATE INDEX ON fleet.detections (rule_id, event_time);

-- The days that have a partition. An event of another day goes to detections_late, as it is.
CREATE TABLE fleet.detection_days (
	day date PRIMARY KEY,
	partition name NOT NULL UNIQUE
);

CREATE TABLE fleet.detections_late (
	LIKE fleet.detections INCLUDING DEFAULTS,
	PRIMARY KEY (host_id, event_time, detection_id)
);
CREATE INDEX ON fleet.detections_late USING brin (received_at);

-- Records that the database will not take, as bytes, cut to a bound.
CREATE TABLE fleet.dead_letters (
	host_id      bigint NOT NULL REFERENCES fleet.hosts,
	detection_id uuid NOT NULL,
	received_at  timestamptz NOT NULL DEFAULT now(),
	kind         text NOT NULL,
	rule_id      text NOT NULL,
	sqlstate     text NOT NULL,
	error        text NOT NULL,
	length       bigint NOT NULL, -- of the whole in bytes
	body         bytea NOT NULL,
	segment      uuid NOT NULL,
	seq          bigint NOT NULL,
	PRIMARY KEY (host_id, detection_id)
);
CREATE INDEX ON fleet.dead_letters USING brin (received_at);

-- Loss is data: what a host has dropped, as totals that only grow.
CREATE TABLE fleet.losses (
	host_id  bigint NOT NULL REFERENCES fleet.hosts,
	ledger   uuid NOT NULL, -- that counts: one that was lost begins anew from 0
	sink     text NOT NULL,
	rule_id  text NOT NULL,
	class    text NOT NULL,
	cause    text NOT NULL,
	count    bigint NOT NULL CHECK (count >= 0),
	first_at timestamptz NOT NULL,
	last_at  timestamptz NOT NULL,
	PRIMARY KEY (host_id, ledger, sink, rule_id, class, cause)
);
