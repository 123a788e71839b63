-- Tables of days that nobody writes to: name, whether it is attached, whether a detach was begun and not ended.
SELECT c.relname::text, i.inhrelid IS NOT NULL, coalesce(i.inhdetachpending, false)
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'fleet.detections'::regclass
WHERE c.relnamespace = 'fleet'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^detections_[0-9]{8}$'
	AND NOT EXISTS (SELECT FROM fleet.detection_days d WHERE d.partition = c.relname)
ORDER BY 1
