-- What agents say of the rules that run, and what they fetch of those that are to run.

-- ruleset_of is the name of a set of rules, an object of content hashes by rule id: the SHA-256 of a line "ID HASH" for each, in
-- the order of the ids' bytes.
CREATE FUNCTION fleet.ruleset_of(p_rules jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT encode(sha256(convert_to(coalesce(string_agg(r.key || ' ' || r.value || E'\n', '' ORDER BY r.key COLLATE "C"), ''), 'UTF8')), 'hex')
	FROM jsonb_each_text(p_rules) r
$$;

-- spend counts what a host uses up, and fails once that is more than a day's share. The class of the error makes agents wait.
CREATE FUNCTION fleet.spend(p_host bigint, p_rows bigint, p_bytes bigint, p_rulesets integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	v_over boolean;
BEGIN
	INSERT INTO fleet.host_usage AS u (host_id, day, rows, bytes, rulesets) VALUES (p_host, current_date, p_rows, p_bytes, p_rulesets)
	ON CONFLICT (host_id) DO UPDATE SET day = excluded.day,
		rows = excluded.rows + CASE WHEN u.day = excluded.day THEN u.rows ELSE 0 END,
		bytes = excluded.bytes + CASE WHEN u.day = excluded.day THEN u.bytes ELSE 0 END,
		rulesets = excluded.rulesets + CASE WHEN u.day = excluded.day THEN u.rulesets ELSE 0 END
	RETURNING u.rows > (SELECT coalesce(h.rows_per_day, s.rows_per_day) FROM fleet.settings s, fleet.hosts h WHERE h.host_id = p_host)
		OR u.bytes > (SELECT s.bytes_per_day FROM fleet.settings s)
		OR u.rulesets > (SELECT s.rulesets_per_day FROM fleet.settings s) INTO v_over;
	IF v_over THEN
		RAISE EXCEPTION 'this host has used up its share of the day' USING ERRCODE = 'configuration_limit_exceeded',
			HINT = 'it is set in fleet.settings and fleet.hosts';
	END IF;
END
$$;

-- agent_report_v1 says what runs. The rules of the set, an object as for ruleset_of, are needed only if the server does not
-- know it: then known is false, and the agent calls again with them. Exceptions, an array of rule_id, content_hash,
-- status, error, kernel and since, are all that differ; null leaves them as they were.
CREATE FUNCTION fleet.agent_report_v1(p_ruleset text, p_rules jsonb, p_exceptions jsonb) RETURNS TABLE (known boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.require_host();
BEGIN
	IF p_ruleset !~ '^[0-9a-f]{64}$' OR coalesce(octet_length(p_rules::text), 0) > 2097152 OR coalesce(octet_length(p_exceptions::text), 0) > 2097152 THEN
		RAISE EXCEPTION 'a report must name a ruleset by its SHA-256, and be of at most 2097152 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	known := EXISTS (SELECT FROM fleet.rulesets r WHERE r.ruleset = p_ruleset);
	IF NOT known AND p_rules IS NOT NULL THEN
		IF fleet.ruleset_of(p_rules) <> p_ruleset THEN
			RAISE EXCEPTION 'the rules are not those of ruleset %', p_ruleset USING ERRCODE = 'invalid_parameter_value';
		END IF;
		PERFORM fleet.spend(v_host, 0, octet_length(p_rules::text), 1);
		INSERT INTO fleet.rulesets (ruleset, first_host) VALUES (p_ruleset, v_host) ON CONFLICT DO NOTHING;
		INSERT INTO fleet.ruleset_rules (ruleset, rule_id, content_hash)
		SELECT p_ruleset, r.key, r.value FROM jsonb_each_text(p_rules) r ON CONFLICT DO NOTHING;
		known := true;
	END IF;
	INSERT INTO fleet.host_rulesets AS r (host_id, ruleset) VALUES (v_host, p_ruleset)
	ON CONFLICT (host_id) DO UPDATE SET ruleset = excluded.ruleset, reported_at = now() WHERE r.ruleset <> excluded.ruleset;
	IF p_exceptions IS NOT NULL THEN
		IF jsonb_array_length(p_exceptions) > 10000 THEN
			RAISE EXCEPTION 'a report has at most 10000 exceptions' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		DELETE FROM fleet.host_rule_exceptions e WHERE e.host_id = v_host
			AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_exceptions) x WHERE x->>'rule_id' = e.rule_id);
		INSERT INTO fleet.host_rule_exceptions AS e (host_id, rule_id, content_hash, status, error, kernel, since)
		SELECT DISTINCT ON (x->>'rule_id') v_host, x->>'rule_id', coalesce(x->>'content_hash', ''), x->>'status', left(coalesce(x->>'error', ''), 4096),
			left(coalesce(x->>'kernel', ''), 256), coalesce((x->>'since')::timestamptz, now())
		FROM jsonb_array_elements(p_exceptions) x
		ON CONFLICT (host_id, rule_id) DO UPDATE SET content_hash = excluded.content_hash, status = excluded.status, error = excluded.error,
			kernel = excluded.kernel, since = excluded.since
		WHERE (e.content_hash, e.status, e.error, e.kernel, e.since)
			IS DISTINCT FROM (excluded.content_hash, excluded.status, excluded.error, excluded.kernel, excluded.since);
	END IF;
	RETURN NEXT;
END
$$;

-- agent_manifest_v1 returns the publication that is to run, with its signed manifest; no row if it is the known one or if there is none.
CREATE FUNCTION fleet.agent_manifest_v1(p_known text) RETURNS TABLE (publication text, manifest text, signature bytea, key_id text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.require_host();
BEGIN
	RETURN QUERY SELECT p.publication, p.manifest, p.signature, p.key_id FROM fleet.publications p
	WHERE p.publication = fleet.host_publication(v_host) AND p.publication IS DISTINCT FROM p_known;
END
$$;

-- agent_blobs_v1 returns pages and files by their SHA-256, at most 500, and of those the first 4 MiB: who asks asks again for the rest.
-- Only such as this host is to run, for others may be none of its business.
CREATE FUNCTION fleet.agent_blobs_v1(p_sums text[]) RETURNS TABLE (sha256 text, body bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.require_host();
	v_publication text := fleet.host_publication(v_host);
BEGIN
	IF cardinality(p_sums) > 500 OR coalesce(array_ndims(p_sums), 1) <> 1 THEN
		RAISE EXCEPTION 'at most 500 pages and files are sent at once' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY SELECT s.sha256, s.body FROM (
		SELECT b.sha256, b.body, sum(octet_length(b.body)) OVER (ORDER BY a.place) - octet_length(b.body) AS before
		FROM (SELECT u.sum, min(u.place) AS place FROM unnest(p_sums) WITH ORDINALITY u(sum, place) GROUP BY u.sum) a
		JOIN fleet.blobs b ON b.sha256 = a.sum
		WHERE EXISTS (SELECT FROM fleet.publication_pages p WHERE p.publication = v_publication AND p.page = b.sha256)
			OR EXISTS (SELECT FROM fleet.page_files f JOIN fleet.publication_pages p USING (page) WHERE p.publication = v_publication AND f.file = b.sha256)
	) s WHERE s.before < 4194304;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.agent_report_v1(text, jsonb, jsonb), fleet.agent_manifest_v1(text), fleet.agent_blobs_v1(text[]) TO fleet_agent;
