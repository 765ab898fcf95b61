-- The registry and its credentials.

-- name: model_exists
SELECT EXISTS (SELECT FROM config.vehicle_model_v1 WHERE code = %(model)s)

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

-- name: vehicle
SELECT vin, model, firmware, transport, enrolment, enrolled_at, presence, last_seen_at, operational,
    signal_pct, status_at, reported_values, reported_digest, reported_seq, reported_at
FROM gateway.vehicle_v1
WHERE vin = %(vin)s

-- name: vehicles
SELECT vin, model, firmware, transport, enrolment, enrolled_at, presence, last_seen_at, operational,
    signal_pct, status_at, reported_values, reported_digest, reported_seq, reported_at
FROM gateway.vehicle_v1
WHERE (%(after)s::text IS NULL OR vin > %(after)s)
  AND (%(presence)s::text IS NULL OR presence = %(presence)s)
ORDER BY vin
LIMIT %(limit)s

-- name: credentials
SELECT vin, secret_hash FROM gateway.vehicle
WHERE status = 'ENROLLED' AND secret_hash IS NOT NULL

-- name: listen
LISTEN gateway_credentials
