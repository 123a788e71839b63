-- The call that each agent makes all the time. With nothing new and no heartbeat it reads three rows and writes none.

CREATE FUNCTION fleet.put_heartbeat(p_host bigint, p jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_interval integer;
BEGIN
	IF jsonb_typeof(p) <> 'object' OR octet_length(p::text) > 4096 THEN
		RAISE EXCEPTION 'a heartbeat must be an object of at most 4096 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT s.heartbeat_s INTO v_interval FROM fleet.settings s;
	INSERT INTO fleet.host_heartbeat AS h (host_id, last_seen, interval_s, boot_id, instance, applied_gen, ruleset, outbox_records,
		outbox_bytes, oldest_unsent, lost_total, cpu, rss, clock_ms, publication, problem)
	VALUES (p_host, clock_timestamp(), v_interval, (p->>'boot_id')::uuid, (p->>'instance')::uuid, coalesce((p->>'applied_gen')::bigint, 0),
		left(coalesce(p->>'ruleset', ''), 64), coalesce((p->>'outbox_records')::bigint, 0), coalesce((p->>'outbox_bytes')::bigint, 0),
		(p->>'oldest_unsent')::timestamptz, coalesce((p->>'lost_total')::bigint, 0), coalesce((p->>'cpu')::real, 0),
		coalesce((p->>'rss')::bigint, 0),
		coalesce((extract(epoch FROM (p->>'time')::timestamptz - clock_timestamp()) * 1000)::bigint, 0),
		left(coalesce(p->>'publication', ''), 64), left(coalesce(p->>'problem', ''), 1024))
	ON CONFLICT (host_id) DO UPDATE SET last_seen = excluded.last_seen, interval_s = excluded.interval_s, boot_id = excluded.boot_id,
		instance = excluded.instance, applied_gen = excluded.applied_gen, ruleset = excluded.ruleset,
		outbox_records = excluded.outbox_records, outbox_bytes = excluded.outbox_bytes, oldest_unsent = excluded.oldest_unsent,
		lost_total = excluded.lost_total, cpu = excluded.cpu, rss = excluded.rss, clock_ms = excluded.clock_ms,
		publication = excluded.publication, problem = excluded.problem;
	PERFORM fleet.note_instance(p_host, (p->>'instance')::uuid, p->>'machine_id', (p->>'boot_id')::uuid);
END
$$;

-- host_states are the states that count for a host, of rules that changed after a generation. A host's own beats its
-- groups', and that the fleet's. What comes next is there too: when a state expires, the one below it counts, and the
-- agent must know it with the database down. One that outlives what comes after it hides that, but for 'disabled', which a host may not
-- heed. A rule without a state any more is told as deleted.
-- It is planned once in a session: by default it would be anew at each of its first calls, which takes longer than what they do.
CREATE FUNCTION fleet.host_states(p_host bigint, p_after bigint, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
	RETURN (
		WITH mine AS (
			SELECT s.*, row_number() OVER w AS place
			FROM fleet.rule_state s
			LEFT JOIN (fleet.host_group_members m JOIN fleet.host_groups g USING (group_id))
				ON s.scope = 'group' AND m.group_id = s.scope_id AND m.host_id = p_host
			WHERE s.rule_id IN (SELECT c.rule_id FROM fleet.rule_state c WHERE c.gen > p_after)
			  AND (s.scope = 'fleet' OR (s.scope = 'host' AND s.scope_id = p_host) OR m.host_id IS NOT NULL)
			WINDOW w AS (PARTITION BY s.rule_id ORDER BY array_position(ARRAY['host', 'group', 'fleet'], s.scope), g.precedence DESC, g.group_id)
		), live AS (
			SELECT m.*, max(coalesce(m.expires_at, 'infinity')) FILTER (WHERE m.state <> 'disabled') OVER (PARTITION BY m.rule_id ORDER BY m.place
				ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
			FROM mine m WHERE NOT m.deleted AND (m.expires_at IS NULL OR m.expires_at > p_now)
		), chain AS (
			SELECT l.rule_id, jsonb_agg(jsonb_build_object('state', l.state, 'confidence_max', l.confidence_max,
				'expires_in', extract(epoch FROM l.expires_at - p_now), 'reason', l.reason, 'set_by', l.set_by, 'set_at', l.set_at,
				'scope', l.scope) ORDER BY l.place) AS all_of
			FROM live l WHERE l.covered IS NULL OR coalesce(l.expires_at, 'infinity') > l.covered GROUP BY l.rule_id
		)
		SELECT coalesce(jsonb_agg(CASE WHEN c.rule_id IS NULL THEN jsonb_build_object('rule_id', r.rule_id, 'deleted', true)
			ELSE jsonb_build_object('rule_id', r.rule_id, 'deleted', false) || (c.all_of->0) || jsonb_build_object('next', c.all_of - 0) END
			ORDER BY r.rule_id), '[]')
		FROM (SELECT DISTINCT m.rule_id FROM mine m) r LEFT JOIN chain c USING (rule_id)
	);
END
$$;

-- agent_sync_v1 says what has changed after the generation that the agent knows: states is null if nothing has. With
-- resync the agent forgets all that it knows first. Generations and states come from one snapshot or a later one, never
-- an earlier one: what is told twice does no harm.
CREATE FUNCTION fleet.agent_sync_v1(p_known_gen bigint, p_known_timeline uuid, p_heartbeat jsonb)
RETURNS TABLE (generation bigint, timeline uuid, server_time timestamptz, sync_ms integer, heartbeat_s integer, drain_rows_s integer,
	resync boolean, clone boolean, publication text, states jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint;
	v_resync_gen bigint;
BEGIN
	SELECT h.host_id, h.resync_gen, c.gen, s.sync_ms, s.heartbeat_s, s.drain_rows_s
	INTO v_host, v_resync_gen, generation, sync_ms, heartbeat_s, drain_rows_s
	FROM fleet.hosts h, fleet.state_clock c, fleet.settings s WHERE h.db_role = session_user AND h.revoked_at IS NULL;
	IF v_host IS NULL THEN
		v_host := fleet.require_host(); -- which says why
	END IF;
	-- To ask for the timeline is half of the cost of a call that has nothing to say. It can't become another one while the
	-- generation stays, but by a restore or a promotion, which cut all connections: and a session begins with a heartbeat.
	timeline := p_known_timeline;
	IF p_known_gen IS DISTINCT FROM generation OR p_known_timeline IS NULL OR p_heartbeat IS NOT NULL THEN
		timeline := fleet.timeline();
	END IF;
	IF p_heartbeat IS NOT NULL THEN
		PERFORM fleet.put_heartbeat(v_host, p_heartbeat);
		clone := fleet.is_clone(v_host);
	END IF;
	server_time := clock_timestamp();
	resync := p_known_gen IS NULL OR p_known_gen > generation OR p_known_gen < v_resync_gen OR p_known_timeline IS DISTINCT FROM timeline;
	IF resync OR p_known_gen < generation THEN
		states := fleet.host_states(v_host, CASE WHEN resync THEN 0 ELSE p_known_gen END, server_time);
		publication := fleet.host_publication(v_host);
	END IF;
	RETURN NEXT;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.agent_sync_v1(bigint, uuid, jsonb) TO fleet_agent;
