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

-- Publishing is several calls in one transaction, each of them small: begin_publish_v1, then what the server lacks of blobs and of versions
-- of rules, publish_v1, and assign_v1 last, since it holds up other operators until the end.

-- begin_publish_v1 has publishers and maintenance queue, so that what the server has it still has at the end. It returns the publication
-- that has the same files, signed with the same key; null if there is none.
CREATE FUNCTION fleet.begin_publish_v1(p_content text, p_key_id text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	LOCK TABLE fleet.publications IN SHARE ROW EXCLUSIVE MODE;
	RETURN (
		SELECT p.publication FROM fleet.publications p WHERE p.content = p_content AND p.key_id = p_key_id
	);
END
$$;

-- missing_blobs_v1 are those of the given ones that the server lacks.
CREATE FUNCTION fleet.missing_blobs_v1(p_sums text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT s FROM unnest(p_sums) s WHERE NOT EXISTS (SELECT FROM fleet.blobs b WHERE b.sha256 = s)
$$;

-- put_blobs_v1 keeps blobs, and returns how many of them it did not have.
CREATE FUNCTION fleet.put_blobs_v1(p_bodies bytea[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_new integer;
BEGIN
	IF EXISTS (SELECT FROM unnest(p_bodies) b WHERE octet_length(b) > 4194304) THEN
		RAISE EXCEPTION 'a page or file has at most 4194304 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO fleet.blobs (sha256, body) SELECT encode(sha256(b), 'hex'), b FROM unnest(p_bodies) b ORDER BY 1 ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS v_new = ROW_COUNT;
	RETURN v_new;
END
$$;

-- missing_versions_v1 are those of the given versions of rules, by content hash, that the server lacks.
CREATE FUNCTION fleet.missing_versions_v1(p_hashes text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT h FROM unnest(p_hashes) h WHERE NOT EXISTS (SELECT FROM fleet.rule_versions v WHERE v.content_hash = h)
$$;

-- put_versions_v1 keeps versions of rules: an array of rule_id, rule_version, name, attack, content_hash and body.
CREATE FUNCTION fleet.put_versions_v1(p_rules jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO fleet.rules AS o (rule_id, name, attack)
	SELECT r->>'rule_id', r->>'name', ARRAY(SELECT jsonb_array_elements_text(r->'attack')) FROM jsonb_array_elements(p_rules) r ORDER BY 1
	ON CONFLICT (rule_id) DO UPDATE SET name = excluded.name, attack = excluded.attack, changed_at = now()
	WHERE (o.name, o.attack) IS DISTINCT FROM (excluded.name, excluded.attack);
	INSERT INTO fleet.rule_versions (content_hash, rule_id, rule_version, body)
	SELECT r->>'content_hash', r->>'rule_id', (r->>'rule_version')::integer, r->>'body' FROM jsonb_array_elements(p_rules) r ORDER BY 1
	ON CONFLICT (content_hash) DO NOTHING;
END
$$;

-- publish_v1 keeps a manifest whose pages and files the server has. The rules, an object as for ruleset_of, are needed only if the
-- server does not know the set.
CREATE FUNCTION fleet.publish_v1(p_manifest text, p_signature bytea, p_key_id text, p_rules jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_publication text := encode(sha256(convert_to(p_manifest, 'UTF8')), 'hex');
	v_ruleset text := substring(p_manifest FROM E'\nruleset ([0-9a-f]{64})\n');
	v_files bigint := substring(p_manifest FROM E'\nfiles ([0-9]{1,6})\n');
	v_pages text[] := ARRAY(SELECT m[1] FROM regexp_matches(p_manifest, '^page ([0-9a-f]{64} [0-9]{1,7})$', 'gn') m);
	v_page text;
	v_found bigint;
BEGIN
	IF p_manifest NOT LIKE E'bittern rules 1\n%' OR v_ruleset IS NULL OR v_files IS NULL OR v_files > 20000 OR cardinality(v_pages) NOT BETWEEN 1 AND 64 THEN
		RAISE EXCEPTION 'this is no manifest of rules' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOREACH v_page IN ARRAY v_pages LOOP
		IF NOT EXISTS (SELECT FROM fleet.blobs b WHERE b.sha256 = split_part(v_page, ' ', 1) AND octet_length(b.body) = split_part(v_page, ' ', 2)::integer) THEN
			RAISE EXCEPTION 'page % is not there', v_page USING ERRCODE = 'foreign_key_violation';
		END IF;
		v_page := split_part(v_page, ' ', 1);
		CONTINUE WHEN EXISTS (SELECT FROM fleet.page_files f WHERE f.page = v_page);
		IF EXISTS (
			SELECT FROM fleet.blobs b, string_to_table(convert_from(b.body, 'UTF8'), E'\n') line
			LEFT JOIN fleet.blobs f ON f.sha256 = split_part(line, ' ', 1) AND octet_length(f.body)::text = split_part(line, ' ', 2)
			WHERE b.sha256 = v_page AND line <> '' AND (f.sha256 IS NULL OR octet_length(f.body) > 1048576
				OR line !~ '^[0-9a-f]{64} [0-9]{1,7} (lists/)?[A-Za-z0-9_-]+\.ya?ml$')
		) THEN
			RAISE EXCEPTION 'page % names files that are not there, or that are none', v_page USING ERRCODE = 'foreign_key_violation';
		END IF;
		INSERT INTO fleet.page_files (page, file)
		SELECT DISTINCT v_page, split_part(line, ' ', 1) FROM fleet.blobs b, string_to_table(convert_from(b.body, 'UTF8'), E'\n') line
		WHERE b.sha256 = v_page AND line <> '';
	END LOOP;
	IF p_rules IS NOT NULL THEN
		IF fleet.ruleset_of(p_rules) <> v_ruleset THEN
			RAISE EXCEPTION 'the rules are not those of ruleset %', v_ruleset USING ERRCODE = 'invalid_parameter_value';
		END IF;
		INSERT INTO fleet.rulesets AS o (ruleset) VALUES (v_ruleset) ON CONFLICT (ruleset) DO UPDATE SET first_host = NULL;
		INSERT INTO fleet.ruleset_rules (ruleset, rule_id, content_hash)
		SELECT v_ruleset, r.key, r.value FROM jsonb_each_text(p_rules) r ON CONFLICT DO NOTHING;
	END IF;
	INSERT INTO fleet.publications (publication, manifest, signature, key_id, content, ruleset)
	VALUES (v_publication, p_manifest, p_signature, coalesce(p_key_id, ''), fleet.content_of(p_manifest), v_ruleset);
	INSERT INTO fleet.publication_pages (publication, page) SELECT DISTINCT v_publication, split_part(p, ' ', 1) FROM unnest(v_pages) p;
	RETURN v_publication;
END
$$;

-- content_of is the SHA-256 of the lines of a manifest that are about pages.
CREATE FUNCTION fleet.content_of(p_manifest text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT encode(sha256(convert_to(coalesce(string_agg(l.line || E'\n', '' ORDER BY l.place), ''), 'UTF8')), 'hex')
	FROM string_to_table(p_manifest, E'\n') WITH ORDINALITY l(line, place) WHERE l.line LIKE 'page %'
$$;

-- assign_v1 says what the fleet, a group or a host is to run; null takes it back. It returns null if that is so already.
CREATE FUNCTION fleet.assign_v1(p_scope text, p_target text, p_publication text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_id bigint;
	v_gen bigint;
BEGIN
	PERFORM fleet.lock_clock();
	v_id := fleet.scope_id_of(p_scope, p_target);
	IF (SELECT a.publication FROM fleet.ruleset_assignments a WHERE a.scope = p_scope AND a.scope_id = v_id) IS NOT DISTINCT FROM p_publication THEN
		RETURN NULL;
	END IF;
	v_gen := fleet.next_gen();
	IF p_publication IS NULL THEN
		DELETE FROM fleet.ruleset_assignments a WHERE a.scope = p_scope AND a.scope_id = v_id;
	ELSE
		INSERT INTO fleet.ruleset_assignments (scope, scope_id, publication, gen) VALUES (p_scope, v_id, p_publication, v_gen)
		ON CONFLICT (scope, scope_id) DO UPDATE SET publication = excluded.publication, set_by = session_user, set_at = now(), gen = excluded.gen;
	END IF;
	INSERT INTO fleet.rule_state_audit (gen, action, scope, scope_id, rule_id, detail)
	VALUES (v_gen, 'assign', p_scope, v_id, '', jsonb_build_object('publication', p_publication));
	RETURN v_gen;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.enroll_host_v1(text, jsonb, bytea, interval), fleet.redeem_token_v1(bytea), fleet.note_certificate_v1(name, text, timestamptz),
	fleet.revoke_host_v1(text), fleet.end_host_v1(text), fleet.make_group_v1(text, integer), fleet.set_member_v1(text, text, boolean),
	fleet.begin_publish_v1(text, text), fleet.missing_blobs_v1(text[]), fleet.put_blobs_v1(bytea[]), fleet.missing_versions_v1(text[]),
	fleet.put_versions_v1(jsonb), fleet.publish_v1(text, bytea, text, jsonb), fleet.assign_v1(text, text, text) TO fleet_operator;
