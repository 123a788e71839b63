-- Those that nobody is to run, but for the newest ones, to which one may want to go back.
DELETE FROM fleet.publications p WHERE p.published_at < now() - interval '1 day'
	AND NOT EXISTS (SELECT FROM fleet.ruleset_assignments a WHERE a.publication = p.publication)
	AND p.publication NOT IN (SELECT n.publication FROM fleet.publications n ORDER BY n.published_at DESC LIMIT 20)
