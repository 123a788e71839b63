-- Sets that hosts have reported, and no host runs any more.
DELETE FROM fleet.rulesets r WHERE r.first_host IS NOT NULL AND r.created_at < now() - interval '1 day'
	AND NOT EXISTS (SELECT FROM fleet.host_rulesets h WHERE h.ruleset = r.ruleset)
	AND NOT EXISTS (SELECT FROM fleet.ruleset_assignments a WHERE a.ruleset = r.ruleset)
