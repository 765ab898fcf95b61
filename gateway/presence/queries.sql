-- The regular look over all vehicles, flaps, and the connectivity log.

-- A vehicle that fell silent; its session may still come back to life, so it is not ended.
-- name: silence
WITH silent AS (
    SELECT vin, presence FROM gateway.vehicle_state
    WHERE presence <> 'OFFLINE'
      AND last_seen_at < %(since)s AND presence_since < %(since)s
    ORDER BY vin
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
), silenced AS (
    UPDATE gateway.vehicle_state s
    SET presence = 'OFFLINE', presence_since = %(now)s, presence_reason = 'SILENCE'
    FROM silent WHERE s.vin = silent.vin
    RETURNING s.vin, silent.presence AS from_presence, s.session
)
INSERT INTO gateway.connectivity_log (vin, at, from_presence, to_presence, reason, session)
SELECT vin, %(now)s, from_presence, 'OFFLINE', 'SILENCE', session FROM silenced

-- name: count_by_presence
SELECT presence, count(*) AS vehicles FROM gateway.vehicle_v1
WHERE enrolment = 'ENROLLED'
GROUP BY presence

-- name: count_unstable
SELECT count(*) FROM gateway.vehicle_state WHERE unstable_until > %(now)s

-- name: prune_log
DELETE FROM gateway.connectivity_log WHERE id IN (
    SELECT id FROM gateway.connectivity_log 
    WHERE at < %(before)s AND coalesce(until, at) < %(before)s
    ORDER BY at LIMIT 5000 FOR UPDATE SKIP LOCKED)

-- name: count_flap
UPDATE gateway.vehicle_state SET
    flaps = flaps + 1, last_flap_at = %(now)s,
    flap_streak = CASE WHEN last_flap_at > %(window_began)s THEN flap_streak + 1 ELSE 1 END,
    unstable_until = CASE
        WHEN CASE WHEN last_flap_at > %(window_began)s THEN flap_streak + 1 ELSE 1 END
             >= %(unstable_flaps)s
        THEN %(window_ends)s ELSE unstable_until END
WHERE vin = %(vin)s

-- name: last_entries
-- The last two of each vehicle, the last one first.
SELECT l.id, l.vin, l.at, l.until, l.to_presence, l.reason
FROM unnest(%(vins)s::text[]) AS v (vin), LATERAL (
    SELECT c.id, c.vin, c.at, c.until, c.to_presence, c.reason
    FROM gateway.connectivity_log c WHERE c.vin = v.vin ORDER BY c.id DESC LIMIT 2) AS l
ORDER BY l.id DESC

-- name: add_entry
INSERT INTO gateway.connectivity_log (vin, at, from_presence, to_presence, reason, session)
VALUES (%(vin)s, %(at)s, %(from_presence)s, %(to_presence)s, %(reason)s, %(session)s)

-- name: make_flap
UPDATE gateway.connectivity_log SET
    reason = 'FLAP', until = %(at)s, to_presence = %(to_presence)s, session = %(session)s,
    flaps = flaps + 1
WHERE id = %(id)s

-- name: remove_entry
DELETE FROM gateway.connectivity_log WHERE id = %(id)s
