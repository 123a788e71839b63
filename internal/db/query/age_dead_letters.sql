DELETE FROM fleet.dead_letters l WHERE l.received_at < now() - (SELECT s.dead_letter_days FROM fleet.settings s) * interval '1 day'
