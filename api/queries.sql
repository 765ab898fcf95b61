-- name: try_lock
SELECT pg_try_advisory_xact_lock(%(key)s);

-- name: count_hit
INSERT INTO customers.rate_window AS w (key, window_start, hits)
VALUES (%(key)s, %(window_start)s, 1)
ON CONFLICT (key) DO UPDATE SET
    hits = CASE WHEN w.window_start = excluded.window_start THEN w.hits + 1 ELSE 1 END,
    window_start = excluded.window_start
RETURNING hits;

-- name: forget_windows
DELETE FROM customers.rate_window WHERE window_start < %(before)s;
