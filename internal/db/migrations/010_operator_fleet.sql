-- What operators call to enrol hosts, put them into groups, and publish rules.

-- enroll_host_v1 makes a host and its role, and keeps the hash of the one-time token with which it may have its key certified.
CREATE FUNCTION fleet.enroll_host_v1(p_name text, p_labels jsonb, p_token_sha256 bytea, p_token_lasts interval)
RETURNS TABLE (host_id bigint, host_uuid uuid, db_role name, token_expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	host_uuid := gen_random_uuid();
	db_role := fleet_role.make_host(host_uuid);
	INSERT INTO fleet.hosts AS h (host_uuid, db_role, name, labels) VALUES (host_uuid, db_role, p_name, coalesce(p_labels, '{}'))
	RETURNING h.host_id INTO host_id;
	token_expires_at := clock_timestamp() + p_token_lasts;
	INSERT INTO fleet.enrolment_tokens (token_sha256, host_id, expires_at) VALUES (p_token_sha256, host_id, token_expires_at);
	RETURN NEXT;
END
$$;

-- redeem_token_v1 uses a token up, and returns whose it is; no row if it is unknown, used, expired or of a revoked host.
CREATE FUNCTION fleet.redeem_token_v1(p_token_sha256 bytea) RETURNS TABLE (host_uuid uuid, db_role name)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE fleet.enrolment_tokens t SET used_at = clock_timestamp() FROM fleet.hosts h
	WHERE t.token_sha256 = p_token_sha256 AND t.used_at IS NULL AND t.expires_at > clock_timestamp()
		AND h.host_id = t.host_id AND h.revoked_at IS NULL
	RETURNING h.host_uuid, h.db_role
$$;

-- note_certificate_v1 keeps the serial number of a host's certificate.
CREATE FUNCTION fleet.note_certificate_v1(p_role name, p_serial text, p_not_after timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO fleet.certificates (serial, host_id, not_after) VALUES (p_serial, fleet.host_id_of(p_role), p_not_after)
$$;

-- revoke_host_v1 locks a host out, and returns the serial numbers of its certificates. Once this is committed the host can't
-- log in again; then end_host_v1 ends the connections that it has.
CREATE FUNCTION fleet.revoke_host_v1(p_host text) RETURNS TABLE (host_uuid uuid, db_role name, serials text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint := fleet.host_id_of(p_host);
BEGIN
	SELECT h.host_uuid, h.db_role INTO host_uuid, db_role FROM fleet.hosts h WHERE h.host_id = v_id;
	PERFORM fleet_role.lock_host(host_uuid);
	-- A transaction of its own, left open, would block what follows.
	PERFORM fleet_role.end_host(host_uuid);
	UPDATE fleet.hosts h SET revoked_at = coalesce(h.revoked_at, now()), revoked_by = coalesce(h.revoked_by, session_user) WHERE h.host_id = v_id;
	SELECT coalesce(array_agg(c.serial), '{}') INTO serials FROM fleet.certificates c WHERE c.host_id = v_id;
	RETURN NEXT;
END
$$;

CREATE FUNCTION fleet.end_host_v1(p_host text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT fleet_role.end_host(h.host_uuid) FROM fleet.hosts h WHERE h.host_id = fleet.host_id_of(p_host)
$$;

CREATE FUNCTION fleet.make_group_v1(p_name text, p_precedence integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO fleet.host_groups (name, precedence) VALUES (p_name, coalesce(p_precedence, 0)) RETURNING group_id
$$;

-- set_member_v1 puts a host into a group or takes it out. It begins anew then, since states of other groups count for it.
CREATE FUNCTION fleet.set_member_v1(p_group text, p_host text, p_in boolean) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_group bigint;
	v_host bigint;
	v_gen bigint;
BEGIN
	PERFORM fleet.lock_clock();
	v_group := fleet.group_id_of(p_group);
	v_host := fleet.host_id_of(p_host);
	IF p_in THEN
		INSERT INTO fleet.host_group_members (group_id, host_id) VALUES (v_group, v_host) ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM fleet.host_group_members m WHERE m.group_id = v_group AND m.host_id = v_host;
	END IF;
	v_gen := fleet.next_gen();
	UPDATE fleet.hosts h SET resync_gen = v_gen WHERE h.host_id = v_host;
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail)
	VALUES (v_gen, CASE WHEN p_in THEN 'join' ELSE 'leave' END, 'group', v_group, '', jsonb_build_object('host_id', v_host));
	RETURN v_gen;
END
$$;

-- publish_ruleset_v1 keeps a set of rules: an array of rule_id, rule_version, name, attack, content_hash, body and signature (hexadecimal).
CREATE FUNCTION fleet.publish_ruleset_v1(p_rules jsonb, p_manifest text, p_signature bytea, p_key_id text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_ruleset text;
BEGIN
	PERFORM fleet.lock_clock();
	SELECT fleet.ruleset_of(coalesce(jsonb_object_agg(r->>'rule_id', r->>'content_hash'), '{}')) INTO v_ruleset FROM jsonb_array_elements(p_rules) r;
	INSERT INTO fleet.rules AS o (rule_id, name, attack)
	SELECT r->>'rule_id', r->>'name', ARRAY(SELECT jsonb_array_elements_text(r->'attack')) FROM jsonb_array_elements(p_rules) r
	ON CONFLICT (rule_id) DO UPDATE SET name = excluded.name, attack = excluded.attack, changed_at = now()
	WHERE (o.name, o.attack) IS DISTINCT FROM (excluded.name, excluded.attack);
	INSERT INTO fleet.rule_versions AS o (content_hash, rule_id, rule_version, body, signature)
	SELECT r->>'content_hash', r->>'rule_id', (r->>'rule_version')::integer, r->>'body', decode(r->>'signature', 'hex') FROM jsonb_array_elements(p_rules) r
	ON CONFLICT (content_hash) DO UPDATE SET body = excluded.body, rule_version = excluded.rule_version, signature = excluded.signature
	WHERE (o.body, o.rule_version, o.signature) IS DISTINCT FROM (excluded.body, excluded.rule_version, excluded.signature);
	INSERT INTO fleet.rulesets AS o (ruleset, manifest, signature, key_id) VALUES (v_ruleset, p_manifest, p_signature, p_key_id)
	ON CONFLICT (ruleset) DO UPDATE SET manifest = excluded.manifest, signature = excluded.signature, key_id = excluded.key_id, first_host = NULL;
	INSERT INTO fleet.ruleset_rules (ruleset, rule_id, content_hash)
	SELECT v_ruleset, r->>'rule_id', r->>'content_hash' FROM jsonb_array_elements(p_rules) r ON CONFLICT DO NOTHING;
	RETURN v_ruleset;
END
$$;

-- assign_ruleset_v1 says what the fleet, a group or a host is to run; null takes it back.
CREATE FUNCTION fleet.assign_ruleset_v1(p_scope text, p_target text, p_ruleset text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint;
	v_gen bigint;
BEGIN
	PERFORM fleet.lock_clock();
	v_id := fleet.scope_id_of(p_scope, p_target);
	v_gen := fleet.next_gen();
	IF p_ruleset IS NULL THEN
		DELETE FROM fleet.ruleset_assignments a WHERE a.scope = p_scope AND a.scope_id = v_id;
	ELSE
		INSERT INTO fleet.ruleset_assignments (scope, scope_id, ruleset, gen) VALUES (p_scope, v_id, p_ruleset, v_gen)
		ON CONFLICT (scope, scope_id) DO UPDATE SET ruleset = excluded.ruleset, set_by = session_user, set_at = now(), gen = excluded.gen;
	END IF;
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail)
	VALUES (v_gen, 'assign', p_scope, v_id, '', jsonb_build_object('ruleset', p_ruleset));
	RETURN v_gen;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.enroll_host_v1(text, jsonb, bytea, interval), fleet.redeem_token_v1(bytea), fleet.note_certificate_v1(name, text, timestamptz),
	fleet.revoke_host_v1(text), fleet.end_host_v1(text), fleet.make_group_v1(text, integer), fleet.set_member_v1(text, text, boolean),
	fleet.publish_ruleset_v1(jsonb, text, bytea, text), fleet.assign_ruleset_v1(text, text, text) TO fleet_operator;
