-- The registry, its credentials, and who did what.

-- name: model_exists
SELECT EXISTS (SELECT FROM config.vehicle_model_v1 WHERE code = %(model)s)

-- name: models
SELECT code FROM config.vehicle_model_v1

-- name: insert_vehicle
INSERT INTO gateway.vehicle (vin, model, firmware, transport, secret_hash)
VALUES (%(vin)s, %(model)s, %(firmware)s, %(transport)s, %(secret_hash)s)
ON CONFLICT (vin) DO NOTHING

-- name: credential
SELECT vin, transport, status, secret_hash FROM gateway.vehicle WHERE vin = %(vin)s FOR UPDATE

-- name: set_secret
UPDATE gateway.vehicle SET secret_hash = %(secret_hash)s, updated_at = now()
WHERE vin = %(vin)s AND status = 'ENROLLED'

-- name: revoke
UPDATE gateway.vehicle SET status = 'REVOKED', secret_hash = NULL, updated_at = now()
WHERE vin = %(vin)s AND status = 'ENROLLED'

-- Presence goes by the session's number, and whoever speaks for the vehicle from now on counts for
-- itself (BUS, Presence).
-- name: forget_session
WITH moved AS (
    SELECT vin FROM gateway.vehicle
    WHERE vin = %(vin)s AND status = 'REVOKED' AND transport <> %(transport)s
), foreign_side AS (
    UPDATE gateway.foreign_vehicle f SET online = false FROM moved WHERE f.vin = moved.vin
)
UPDATE gateway.vehicle_state s SET session = NULL, boot = NULL, presence_at = NULL
FROM moved WHERE s.vin = moved.vin

-- name: reinstate
UPDATE gateway.vehicle
SET status = 'ENROLLED', model = %(model)s, firmware = %(firmware)s, transport = %(transport)s,
    updated_at = now()
WHERE vin = %(vin)s AND status = 'REVOKED'

-- name: vehicle
SELECT s.vin, s.model, s.firmware, s.transport, s.enrolment, s.enrolled_at, s.presence,
    s.last_seen_at, s.operational, s.signal_pct, s.status_at, s.reported_values, s.reported_digest,
    s.reported_seq, s.reported_at, v.secret_hash IS NOT NULL AS has_secret, c.certified_until
FROM gateway.vehicle_v1 s
JOIN gateway.vehicle v USING (vin)
LEFT JOIN LATERAL (
    SELECT max(not_after) AS certified_until FROM gateway.certificate
    WHERE vin = s.vin AND revoked_at IS NULL
) c ON true
WHERE s.vin = %(vin)s

-- name: vehicles
SELECT s.vin, s.model, s.firmware, s.transport, s.enrolment, s.enrolled_at, s.presence,
    s.last_seen_at, s.operational, s.signal_pct, s.status_at, s.reported_values, s.reported_digest,
    s.reported_seq, s.reported_at, v.secret_hash IS NOT NULL AS has_secret, c.certified_until
FROM gateway.vehicle_v1 s
JOIN gateway.vehicle v USING (vin)
LEFT JOIN LATERAL (
    SELECT max(not_after) AS certified_until FROM gateway.certificate
    WHERE vin = s.vin AND revoked_at IS NULL
) c ON true
WHERE (%(after)s::text IS NULL OR s.vin > %(after)s)
  AND (%(presence)s::text IS NULL OR s.presence = %(presence)s)
  AND (%(model)s::text IS NULL OR s.model = %(model)s)
  AND (%(status)s::text IS NULL OR s.enrolment = %(status)s)
  AND (%(transport)s::text IS NULL OR s.transport = %(transport)s)
  AND (%(search)s::text IS NULL OR starts_with(s.vin, %(search)s))
  AND (%(ends_before)s::timestamptz IS NULL OR c.certified_until < %(ends_before)s)
ORDER BY s.vin
LIMIT %(limit)s

-- name: credentials
SELECT vin, secret_hash FROM gateway.vehicle
WHERE status = 'ENROLLED' AND secret_hash IS NOT NULL

-- name: listen
LISTEN gateway_credentials

-- name: insert_certificate
INSERT INTO gateway.certificate (
    fingerprint, vin, serial, issuer, own, not_before, not_after, registered_at)
VALUES (%(fingerprint)s, %(vin)s, %(serial)s, %(issuer)s, %(own)s, %(not_before)s, %(not_after)s,
    %(registered_at)s)
ON CONFLICT DO NOTHING

-- name: revoke_certificates
UPDATE gateway.certificate SET revoked_at = now(), reason = %(reason)s
WHERE vin = %(vin)s AND revoked_at IS NULL AND fingerprint <> %(keep)s

-- name: certificates
SELECT fingerprint, serial, issuer, own, not_before, not_after, registered_at, revoked_at, reason
FROM gateway.certificate WHERE vin = %(vin)s ORDER BY registered_at, fingerprint

-- name: listen_revocations
LISTEN gateway_revocations

-- name: revoked_certificates
SELECT serial, revoked_at AS at FROM gateway.certificate
WHERE revoked_at IS NOT NULL AND own AND issuer = %(issuer)s AND not_after > %(ended)s
ORDER BY revoked_at, serial

-- name: certificate_counts
SELECT CASE
        WHEN revoked_at IS NOT NULL THEN 'revoked'
        WHEN not_after <= %(now)s THEN 'expired'
        WHEN not_after <= %(soon)s THEN 'expiring'
        ELSE 'good'
    END AS state, count(*)::integer AS number
FROM gateway.certificate GROUP BY 1

-- name: insert_event
INSERT INTO gateway.registry_event (actor, action, vin, detail)
VALUES (%(actor)s, %(action)s, %(vin)s, %(detail)s)

-- name: events
SELECT at, actor, action, detail FROM (
    SELECT id, at, actor, action, detail FROM gateway.registry_event
    WHERE vin = %(vin)s ORDER BY id DESC LIMIT %(limit)s
) newest ORDER BY id

-- name: import_stage
CREATE TEMPORARY TABLE registry_import (
    vin text PRIMARY KEY, model text NOT NULL, firmware text NOT NULL, transport text NOT NULL,
    secret_hash text
) ON COMMIT DROP

-- name: import_copy
COPY registry_import (vin, model, firmware, transport, secret_hash) FROM STDIN (FORMAT BINARY)

-- name: import_vehicles
WITH fresh AS (
    INSERT INTO gateway.vehicle (vin, model, firmware, transport, secret_hash)
    SELECT vin, model, firmware, transport, secret_hash FROM registry_import ORDER BY vin
    ON CONFLICT (vin) DO NOTHING
    RETURNING vin
)
INSERT INTO gateway.registry_event (actor, action, vin)
SELECT %(actor)s, 'IMPORTED', vin FROM fresh
RETURNING vin
