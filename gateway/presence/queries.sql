-- The regular look over all vehicles.

-- A vehicle that fell silent; its session may still come back to life, so it is not ended.
-- name: silence
WITH silent AS (
    SELECT vin FROM gateway.vehicle_state
    WHERE presence <> 'OFFLINE'
      AND last_seen_at < %(since)s AND presence_since < %(since)s
    ORDER BY vin
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE gateway.vehicle_state s SET presence = 'OFFLINE', presence_since = %(now)s
FROM silent WHERE s.vin = silent.vin

-- name: count_by_presence
SELECT presence, count(*) AS vehicles FROM gateway.vehicle_v1
WHERE enrolment = 'ENROLLED'
GROUP BY presence
