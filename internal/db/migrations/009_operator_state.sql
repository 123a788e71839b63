-- What operators call to change what hosts are to do. All of it goes through next_gen, so that no agent misses it.

-- lock_clock is taken first, so that operators queue here and nowhere else: they can't deadlock, and the generation that
-- next_gen gives is that of the transaction which commits next.
CREATE FUNCTION fleet.lock_clock() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT FROM fleet.state_clock c FOR UPDATE
$$;

CREATE FUNCTION fleet.next_gen() RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	UPDATE fleet.state_clock c SET gen = c.gen + 1 RETURNING c.gen
$$;

-- host_id_of finds a host by its uuid, its role or its name.
CREATE FUNCTION fleet.host_id_of(p_host text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_ids bigint[];
BEGIN
	SELECT array_agg(h.host_id) INTO v_ids FROM fleet.hosts h WHERE h.host_uuid::text = p_host OR h.db_role = p_host;
	IF v_ids IS NULL THEN
		SELECT array_agg(h.host_id) INTO v_ids FROM fleet.hosts h WHERE h.name = p_host AND h.revoked_at IS NULL;
	END IF;
	IF v_ids IS NULL THEN
		RAISE EXCEPTION 'there is no host %', p_host USING ERRCODE = 'no_data_found';
	ELSIF cardinality(v_ids) > 1 THEN
		RAISE EXCEPTION 'there are % hosts called %', cardinality(v_ids), p_host USING ERRCODE = 'cardinality_violation', HINT = 'name it by its uuid';
	END IF;
	RETURN v_ids[1];
END
$$;

CREATE FUNCTION fleet.group_id_of(p_group text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint;
BEGIN
	SELECT g.group_id INTO v_id FROM fleet.host_groups g WHERE g.name = p_group;
	IF v_id IS NULL THEN
		RAISE EXCEPTION 'there is no group %', p_group USING ERRCODE = 'no_data_found';
	END IF;
	RETURN v_id;
END
$$;

CREATE FUNCTION fleet.scope_id_of(p_scope text, p_target text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE p_scope WHEN 'fleet' THEN 0 WHEN 'group' THEN fleet.group_id_of(p_target) WHEN 'host' THEN fleet.host_id_of(p_target) END;
END
$$;

-- set_state_v1 gives a rule a state: for the fleet, a group or a host. p_lasts is null for ever. p_by is who decided, for a
-- console at which people have names of their own. It returns the generation in which agents learn of it.
CREATE FUNCTION fleet.set_state_v1(p_scope text, p_target text, p_rule text, p_state text, p_confidence_max real, p_lasts interval,
	p_reason text, p_by text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint;
	v_gen bigint;
	v_row fleet.rule_state;
BEGIN
	PERFORM fleet.lock_clock();
	IF p_lasts <= interval '0' THEN
		RAISE EXCEPTION 'a state must last for a time that is to come' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF p_scope IN ('fleet', 'group') AND p_state = 'disabled' AND (coalesce(p_reason, '') = '' OR p_lasts IS NULL) THEN
		RAISE EXCEPTION 'to disable a rule for the fleet or a group needs a reason and an end' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	v_id := fleet.scope_id_of(p_scope, p_target);
	v_gen := fleet.next_gen();
	INSERT INTO fleet.rule_state (scope, scope_id, rule_id, state, confidence_max, expires_at, reason, set_by, set_at, gen)
	VALUES (p_scope, v_id, p_rule, p_state, p_confidence_max, clock_timestamp() + p_lasts, coalesce(p_reason, ''),
		coalesce(p_by, session_user), clock_timestamp(), v_gen)
	ON CONFLICT (scope, scope_id, rule_id) DO UPDATE SET state = excluded.state, confidence_max = excluded.confidence_max,
		expires_at = excluded.expires_at, reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at,
		gen = excluded.gen, deleted = false
	RETURNING * INTO v_row;
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail) VALUES (v_gen, 'set', p_scope, v_id, p_rule, to_jsonb(v_row));
	RETURN v_gen;
END
$$;

-- clear_state_v1 takes a state back. It returns null if there was none.
CREATE FUNCTION fleet.clear_state_v1(p_scope text, p_target text, p_rule text, p_by text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint;
	v_gen bigint;
BEGIN
	PERFORM fleet.lock_clock();
	v_id := fleet.scope_id_of(p_scope, p_target);
	IF NOT EXISTS (SELECT FROM fleet.rule_state s WHERE s.scope = p_scope AND s.scope_id = v_id AND s.rule_id = p_rule AND NOT s.deleted) THEN
		RETURN NULL;
	END IF;
	v_gen := fleet.next_gen();
	UPDATE fleet.rule_state s SET deleted = true, gen = v_gen, set_at = clock_timestamp(), set_by = coalesce(p_by, session_user)
	WHERE s.scope = p_scope AND s.scope_id = v_id AND s.rule_id = p_rule;
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail)
	VALUES (v_gen, 'clear', p_scope, v_id, p_rule, jsonb_build_object('by', coalesce(p_by, session_user)));
	RETURN v_gen;
END
$$;

-- new_timeline_v1 has all agents begin anew. It is for after older data was put back into this very database.
CREATE FUNCTION fleet.new_timeline_v1() RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM fleet.lock_clock();
	UPDATE fleet.state_clock c SET timeline = gen_random_uuid();
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail) VALUES (fleet.next_gen(), 'new timeline', 'fleet', 0, '', '{}');
	RETURN fleet.timeline();
END
$$;

GRANT EXECUTE ON FUNCTION fleet.set_state_v1(text, text, text, text, real, interval, text, text), fleet.clear_state_v1(text, text, text, text),
	fleet.new_timeline_v1() TO fleet_operator;
