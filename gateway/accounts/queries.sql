-- Credentials that changed, for the accounts of the running broker.

-- name: listen
LISTEN gateway_revocations

-- Vehicles by name, and those whose secret or status changed lately.
-- name: changed
WITH chosen AS (
    SELECT unnest(%(vins)s::text[]) AS vin
    UNION
    SELECT vin FROM gateway.registry_event
    WHERE action IN ('SECRET_SET', 'REVOKED', 'REINSTATED') AND at > %(since)s
)
SELECT v.vin, v.status, v.secret_hash, e.changed_at, s.presence, s.session, s.boot, s.last_seen_at
FROM chosen
JOIN gateway.vehicle v USING (vin)
JOIN gateway.vehicle_state s USING (vin)
JOIN LATERAL (
    SELECT max(at) AS changed_at FROM gateway.registry_event
    WHERE vin = v.vin AND action IN ('IMPORTED', 'SECRET_SET', 'REVOKED', 'REINSTATED')
) e ON e.changed_at IS NOT NULL
WHERE v.transport = 'mqtt'
ORDER BY v.vin

-- Vehicles that stay enrolled and of which a certificate was revoked.
-- name: superseded
SELECT DISTINCT c.vin FROM gateway.certificate c JOIN gateway.vehicle v USING (vin)
WHERE c.revoked_at > %(since)s AND v.status = 'ENROLLED'
ORDER BY c.vin

-- name: now
SELECT clock_timestamp()
