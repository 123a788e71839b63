-- What the console asks for. A host that is silent for three of its intervals is unknown, never ok: nobody knows what it runs.
CREATE VIEW fleet.host_rule_status AS
SELECT h.host_id, r.rule_id, coalesce(e.content_hash, r.content_hash) AS content_hash,
	CASE WHEN b.last_seen IS NULL OR b.last_seen < now() - 3 * b.interval_s * interval '1 second' THEN 'unknown'
		ELSE coalesce(e.status, 'live') END AS status,
	e.error, coalesce(e.since, s.reported_at) AS since, b.last_seen
FROM fleet.hosts h
JOIN fleet.host_rulesets s USING (host_id)
JOIN fleet.ruleset_rules r USING (ruleset)
LEFT JOIN fleet.host_heartbeat b USING (host_id)
LEFT JOIN fleet.host_rule_exceptions e ON e.host_id = h.host_id AND e.rule_id = r.rule_id
WHERE h.revoked_at IS NULL
UNION ALL -- rules that are not in the set, such as those that are wrong from the start
SELECT e.host_id, e.rule_id, e.content_hash,
	CASE WHEN b.last_seen IS NULL OR b.last_seen < now() - 3 * b.interval_s * interval '1 second' THEN 'unknown' ELSE e.status END,
	e.error, e.since, b.last_seen
FROM fleet.host_rule_exceptions e
JOIN fleet.hosts h USING (host_id)
LEFT JOIN fleet.host_rulesets s USING (host_id)
LEFT JOIN fleet.host_heartbeat b USING (host_id)
WHERE h.revoked_at IS NULL AND NOT EXISTS (SELECT FROM fleet.ruleset_rules r WHERE r.ruleset = s.ruleset AND r.rule_id = e.rule_id);

GRANT SELECT ON fleet.host_rule_status TO fleet_operator, fleet_console;
