SELECT (SELECT coalesce(max(version), 0) FROM fleet.schema_versions),
	(SELECT count(*) FROM fleet.hosts WHERE revoked_at IS NULL),
	(SELECT count(*) FROM fleet.hosts h LEFT JOIN fleet.host_heartbeat b USING (host_id)
		WHERE h.revoked_at IS NULL AND (b.last_seen IS NULL OR b.last_seen < now() - 3 * b.interval_s * interval '1 second')),
	(SELECT gen FROM fleet.state_clock),
	(SELECT coalesce(min(day)::text, '') FROM fleet.detection_days), (SELECT coalesce(max(day)::text, '') FROM fleet.detection_days),
	(SELECT count(*) FROM fleet.dead_letters), pg_catalog.pg_database_size(current_database())
