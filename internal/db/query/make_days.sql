SELECT d.day FROM (
	SELECT (now() AT TIME ZONE 'UTC')::date + n AS day FROM fleet.settings s, generate_series(-1, s.days_ahead) n
) d WHERE fleet.make_day(d.day) ORDER BY 1
