-- What agents call to say who they are. Each of these functions takes the host from session_user. They are versioned: what
-- an older agent calls stays.

-- require_host is the host that is logged in; whoever is none goes no further.
CREATE FUNCTION fleet.require_host() RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint := fleet.session_host();
BEGIN
	IF v_host IS NULL THEN
		RAISE EXCEPTION 'this role is no enrolled host, or was revoked' USING ERRCODE = 'invalid_authorization_specification';
	END IF;
	RETURN v_host;
END
$$;

-- timeline names this history of generations: another one after a restore into another database or cluster, and after
-- a promotion, which begins a new line of the WAL.
CREATE FUNCTION fleet.timeline() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (
		SELECT encode(substr(sha256(convert_to(concat_ws('/', c.timeline, s.system_identifier, d.oid,
			substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)), 'UTF8')), 1, 16), 'hex')::uuid
		FROM fleet.state_clock c, pg_control_system() s, pg_database d WHERE d.datname = current_database()
	);
END
$$;

-- note_instance records which process speaks for a host. One that was superseded and speaks again is a clone.
CREATE FUNCTION fleet.note_instance(p_host bigint, p_instance uuid, p_machine text, p_boot uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_was timestamptz;
BEGIN
	IF p_instance IS NULL THEN
		RETURN;
	END IF;
	SELECT i.superseded_at INTO v_was FROM fleet.host_instances i WHERE i.host_id = p_host AND i.instance = p_instance;
	IF FOUND AND v_was IS NULL THEN
		RETURN;
	END IF;
	IF v_was IS NOT NULL THEN
		INSERT INTO fleet.host_clones AS c (host_id, instances, machine_ids, addresses)
		SELECT p_host, array_agg(i.instance), array_agg(DISTINCT i.machine_id), array_remove(array_agg(DISTINCT i.address), NULL)
		FROM fleet.host_instances i WHERE i.host_id = p_host AND (i.superseded_at IS NULL OR i.instance = p_instance)
		ON CONFLICT (host_id) DO UPDATE SET instances = excluded.instances, machine_ids = excluded.machine_ids,
			addresses = excluded.addresses, last_at = now(), times = c.times + 1;
	END IF;
	UPDATE fleet.host_instances i SET superseded_at = now() WHERE i.host_id = p_host AND i.superseded_at IS NULL;
	INSERT INTO fleet.host_instances AS i (host_id, instance, machine_id, boot_id, address)
	VALUES (p_host, p_instance, left(coalesce(p_machine, ''), 128), p_boot, inet_client_addr())
	ON CONFLICT (host_id, instance) DO UPDATE SET superseded_at = NULL, address = excluded.address;
	DELETE FROM fleet.host_instances i WHERE i.host_id = p_host AND i.instance IN (
		SELECT o.instance FROM fleet.host_instances o WHERE o.host_id = p_host
		ORDER BY o.superseded_at DESC NULLS FIRST, o.first_seen DESC OFFSET 16);
END
$$;

CREATE FUNCTION fleet.is_clone(p_host bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (
		SELECT EXISTS (SELECT FROM fleet.host_clones c WHERE c.host_id = p_host AND c.last_at > now() - interval '1 day')
	);
END
$$;

-- host_publication is what a host is to take its rules from: what is said of itself beats its groups', and that the fleet's.
CREATE FUNCTION fleet.host_publication(p_host bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
	RETURN (
		SELECT a.publication FROM fleet.ruleset_assignments a
		LEFT JOIN (fleet.host_group_members m JOIN fleet.host_groups g USING (group_id))
			ON a.scope = 'group' AND m.group_id = a.scope_id AND m.host_id = p_host
		WHERE a.scope = 'fleet' OR (a.scope = 'host' AND a.scope_id = p_host) OR m.host_id IS NOT NULL
		ORDER BY array_position(ARRAY['host', 'group', 'fleet'], a.scope), g.precedence DESC, g.group_id LIMIT 1
	);
END
$$;

-- agent_hello_v1 begins a session. The inventory has hostname, kernel, arch, distro, agent_version, hooks (any JSON),
-- machine_id, boot_id and instance. A host that is refused gets the reason, and nothing else.
CREATE FUNCTION fleet.agent_hello_v1(p_inventory jsonb)
RETURNS TABLE (host_id bigint, host_uuid uuid, server_time timestamptz, schema_version integer, generation bigint, timeline uuid,
	sync_ms integer, heartbeat_s integer, drain_rows_s integer, rows_per_call integer, body_bytes integer, publication text,
	clone boolean, refused text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_host bigint;
BEGIN
	SELECT h.host_id INTO v_host FROM fleet.hosts h WHERE h.db_role = session_user AND h.revoked_at IS NULL;
	IF v_host IS NULL THEN
		refused := CASE WHEN EXISTS (SELECT FROM fleet.hosts h WHERE h.db_role = session_user) THEN 'revoked' ELSE 'not enrolled' END;
		RETURN NEXT;
		RETURN;
	END IF;
	IF jsonb_typeof(p_inventory) IS DISTINCT FROM 'object' OR octet_length(p_inventory::text) > 65536 THEN
		RAISE EXCEPTION 'the inventory must be an object of at most 65536 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO fleet.host_inventory AS i (host_id, hostname, kernel, arch, distro, agent_version, hooks)
	VALUES (v_host, left(coalesce(p_inventory->>'hostname', ''), 253), left(coalesce(p_inventory->>'kernel', ''), 256),
		left(coalesce(p_inventory->>'arch', ''), 64), left(coalesce(p_inventory->>'distro', ''), 256),
		left(coalesce(p_inventory->>'agent_version', ''), 128), coalesce(p_inventory->'hooks', '{}'))
	ON CONFLICT ON CONSTRAINT host_inventory_pkey DO UPDATE SET hostname = excluded.hostname, kernel = excluded.kernel, arch = excluded.arch,
		distro = excluded.distro, agent_version = excluded.agent_version, hooks = excluded.hooks, changed_at = now()
	WHERE (i.hostname, i.kernel, i.arch, i.distro, i.agent_version, i.hooks)
		IS DISTINCT FROM (excluded.hostname, excluded.kernel, excluded.arch, excluded.distro, excluded.agent_version, excluded.hooks);
	PERFORM fleet.note_instance(v_host, (p_inventory->>'instance')::uuid, p_inventory->>'machine_id', (p_inventory->>'boot_id')::uuid);
	RETURN QUERY
	SELECT h.host_id, h.host_uuid, clock_timestamp(), (SELECT max(v.version) FROM fleet.schema_versions v), c.gen, fleet.timeline(),
		s.sync_ms, s.heartbeat_s, s.drain_rows_s, s.rows_per_call, s.body_bytes, fleet.host_publication(v_host), fleet.is_clone(v_host), NULL::text
	FROM fleet.hosts h, fleet.settings s, fleet.state_clock c WHERE h.host_id = v_host;
END
$$;

GRANT EXECUTE ON FUNCTION fleet.agent_hello_v1(jsonb) TO fleet_agent;
