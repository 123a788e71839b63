-- What hosts deliver. Each call is all or nothing, and may be made again: what is there already is counted as a duplicate.
--
-- Errors of class 22 and 23 say that a row will never be taken: the agent finds it by bisection and sends it to
-- ingest_raw_v1. All other classes say to try again later; so a row that is too deep to parse must not be one of those.

-- ingest_v1 takes rows as arrays of one length: ids, kinds, times, rules, hashes (hexadecimal or ''), severities, confidences
-- (null for none), ATT&CK ids joined by commas, counts, bodies (JSON), and the sequence numbers in the outbox p_segment.
CREATE FUNCTION fleet.ingest_v1(p_ids uuid[], p_kinds text[], p_times timestamptz[], p_rules text[], p_hashes text[], p_severities text[],
	p_confidences real[], p_attacks text[], p_counts bigint[], p_bodies text[], p_segment uuid, p_seqs bigint[])
RETURNS TABLE (accepted integer, duplicates integer, late integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	v_host bigint := fleet.require_host();
	v_rows integer := cardinality(p_ids);
	v_limits fleet.settings;
	v_bytes bigint;
	v_most integer;
	v_text integer;
BEGIN
	SELECT s.* INTO v_limits FROM fleet.settings s;
	IF v_rows IS NULL OR v_rows > v_limits.rows_per_call THEN
		RAISE EXCEPTION 'a call takes at most % rows', v_limits.rows_per_call USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF v_rows <> ALL (ARRAY[cardinality(p_kinds), cardinality(p_times), cardinality(p_rules), cardinality(p_hashes), cardinality(p_severities),
			cardinality(p_confidences), cardinality(p_attacks), cardinality(p_counts), cardinality(p_bodies), cardinality(p_seqs)])
		OR coalesce(array_ndims(p_ids), 1) <> 1 THEN
		RAISE EXCEPTION 'the arrays must be of one length' USING ERRCODE = 'array_subscript_error';
	END IF;
	SELECT coalesce(sum(octet_length(r.body)), 0), coalesce(max(octet_length(r.body)), 0),
		coalesce(max(greatest(octet_length(r.kind), octet_length(r.rule), octet_length(r.hash), octet_length(r.severity), octet_length(r.attack) / 8)), 0)
	INTO v_bytes, v_most, v_text
	FROM unnest(p_bodies, p_kinds, p_rules, p_hashes, p_severities, p_attacks) r(body, kind, rule, hash, severity, attack);
	IF v_most > v_limits.body_bytes OR v_text > 255 THEN
		RAISE EXCEPTION 'a body has at most % bytes, other texts 255', v_limits.body_bytes USING ERRCODE = 'string_data_right_truncation';
	END IF;

	INSERT INTO fleet.detections (host_id, event_time, detection_id, kind, rule_id, content_hash, severity, confidence, attack, count, body,
		segment, seq)
	SELECT v_host, r.at, r.id, r.kind, r.rule, r.hash, r.severity, r.confidence, string_to_array(r.attack, ','), r.count, r.body::jsonb,
		p_segment, r.seq
	FROM unnest(p_ids, p_kinds, p_times, p_rules, p_hashes, p_severities, p_confidences, p_attacks, p_counts, p_bodies, p_seqs)
		r(id, kind, at, rule, hash, severity, confidence, attack, count, body, seq)
	WHERE r.at IS NULL OR (r.at AT TIME ZONE 'UTC')::date IN (SELECT d.day FROM fleet.detection_days d)
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS accepted = ROW_COUNT;

	late := 0;
	IF accepted < v_rows THEN
		INSERT INTO fleet.detections_late (host_id, event_time, detection_id, kind, rule_id, content_hash, severity, confidence, attack, count,
			body, segment, seq)
		SELECT v_host, r.at, r.id, r.kind, r.rule, r.hash, r.severity, r.confidence, string_to_array(r.attack, ','), r.count, r.body::jsonb,
			p_segment, r.seq
		FROM unnest(p_ids, p_kinds, p_times, p_rules, p_hashes, p_severities, p_confidences, p_attacks, p_counts, p_bodies, p_seqs)
			r(id, kind, at, rule, hash, severity, confidence, attack, count, body, seq)
		WHERE (r.at AT TIME ZONE 'UTC')::date NOT IN (SELECT d.day FROM fleet.detection_days d)
		ON CONFLICT DO NOTHING;
		GET DIAGNOSTICS late = ROW_COUNT;
	END IF;
	accepted := accepted + late;
	duplicates := v_rows - accepted;
	IF accepted > 0 THEN
		PERFORM fleet.spend(v_host, accepted, v_bytes, 0);
	END IF;
	RETURN NEXT;
EXCEPTION
	WHEN statement_too_complex OR program_limit_exceeded THEN
		RAISE EXCEPTION 'a body is nested too deeply, or is too large' USING ERRCODE = 'invalid_parameter_value';
	WHEN check_violation THEN
		-- Its partition was dropped since we looked: next time it is late.
		RAISE EXCEPTION 'a partition was removed meanwhile' USING ERRCODE = 'serialization_failure';
END
$$;

-- ingest_raw_v1 takes records that ingest_v1 refuses, with the error that it gave. Of each body the first 16384 bytes are kept.
CREATE FUNCTION fleet.ingest_raw_v1(p_ids uuid[], p_kinds text[], p_rules text[], p_states text[], p_errors text[], p_bodies bytea[],
	p_segment uuid, p_seqs bigint[])
RETURNS TABLE (accepted integer, duplicates integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.require_host();
	v_rows integer := cardinality(p_ids);
	v_bytes bigint;
BEGIN
	IF v_rows IS NULL OR v_rows > 100 THEN
		RAISE EXCEPTION 'a call takes at most 100 records' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF v_rows <> ALL (ARRAY[cardinality(p_kinds), cardinality(p_rules), cardinality(p_states), cardinality(p_errors), cardinality(p_bodies),
			cardinality(p_seqs)]) THEN
		RAISE EXCEPTION 'the arrays must be of one length' USING ERRCODE = 'array_subscript_error';
	END IF;
	INSERT INTO fleet.dead_letters (host_id, detection_id, kind, rule_id, sqlstate, error, length, body, segment, seq)
	SELECT v_host, r.id, left(r.kind, 64), left(r.rule, 255), left(r.state, 5), left(r.error, 1024), octet_length(r.body),
		substr(r.body, 1, 16384), p_segment, r.seq
	FROM unnest(p_ids, p_kinds, p_rules, p_states, p_errors, p_bodies, p_seqs) r(id, kind, rule, state, error, body, seq)
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS accepted = ROW_COUNT;
	duplicates := v_rows - accepted;
	SELECT coalesce(sum(least(octet_length(b), 16384)), 0) INTO v_bytes FROM unnest(p_bodies) b;
	IF accepted > 0 THEN
		PERFORM fleet.spend(v_host, accepted, v_bytes, 0);
	END IF;
	RETURN NEXT;
END
$$;

-- ingest_losses_v1 takes totals of what was lost, as the ledger p_ledger has them. They only grow: what comes late, or twice,
-- changes nothing. It returns how many were news.
CREATE FUNCTION fleet.ingest_losses_v1(p_ledger uuid, p_sinks text[], p_rules text[], p_classes text[], p_causes text[], p_counts bigint[],
	p_firsts timestamptz[], p_lasts timestamptz[])
RETURNS TABLE (changed integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.require_host();
	v_rows integer := cardinality(p_sinks);
BEGIN
	IF v_rows IS NULL OR v_rows > 1000 THEN
		RAISE EXCEPTION 'a call takes at most 1000 losses' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF v_rows <> ALL (ARRAY[cardinality(p_rules), cardinality(p_classes), cardinality(p_causes), cardinality(p_counts), cardinality(p_firsts),
			cardinality(p_lasts)]) THEN
		RAISE EXCEPTION 'the arrays must be of one length' USING ERRCODE = 'array_subscript_error';
	END IF;
	INSERT INTO fleet.losses AS l (host_id, ledger, sink, rule_id, class, cause, count, first_at, last_at)
	SELECT v_host, p_ledger, left(r.sink, 64), left(r.rule, 255), left(r.class, 64), left(r.cause, 64), max(r.count), min(r.first_at), max(r.last_at)
	FROM unnest(p_sinks, p_rules, p_classes, p_causes, p_counts, p_firsts, p_lasts) r(sink, rule, class, cause, count, first_at, last_at)
	GROUP BY 3, 4, 5, 6
	ON CONFLICT (host_id, ledger, sink, rule_id, class, cause) DO UPDATE SET count = greatest(l.count, excluded.count),
		first_at = least(l.first_at, excluded.first_at), last_at = greatest(l.last_at, excluded.last_at)
	WHERE excluded.count > l.count;
	GET DIAGNOSTICS changed = ROW_COUNT;
	IF changed > 0 AND (SELECT count(*) FROM fleet.losses l WHERE l.host_id = v_host) > 20000 THEN
		RAISE EXCEPTION 'this host has more than 20000 kinds of losses' USING ERRCODE = 'configuration_limit_exceeded';
	END IF;
	RETURN NEXT;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.ingest_v1(uuid[], text[], timestamptz[], text[], text[], text[], real[], text[], bigint[], text[], uuid, bigint[]),
	fleet.ingest_raw_v1(uuid[], text[], text[], text[], text[], bytea[], uuid, bigint[]),
	fleet.ingest_losses_v1(uuid, text[], text[], text[], text[], bigint[], timestamptz[], timestamptz[]) TO fleet_agent;
