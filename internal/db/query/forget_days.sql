DELETE FROM fleet.detection_days d WHERE d.day < (now() AT TIME ZONE 'UTC')::date - (SELECT s.detection_days FROM fleet.settings s)
