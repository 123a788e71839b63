DELETE FROM fleet.detections_late l WHERE l.received_at < now() - (SELECT s.late_days FROM fleet.settings s) * interval '1 day'
