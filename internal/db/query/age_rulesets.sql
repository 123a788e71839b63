-- Sets of rules that hosts have reported or that were published, and that no host runs and no publication has any more.
DELETE FROM fleet.rulesets r WHERE r.created_at < now() - interval '1 day'
	AND NOT EXISTS (SELECT FROM fleet.host_rulesets h WHERE h.ruleset = r.ruleset)
	AND NOT EXISTS (SELECT FROM fleet.publications p WHERE p.ruleset = r.ruleset)
