-- Statements of the gateway. Batches lock their vehicles in the order of the VIN.

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

-- name: states
SELECT s.vin, v.model, v.firmware, s.presence, s.presence_since, s.session, s.session_ended, s.boot,
    s.presence_at, s.last_seen_at, s.operational, s.signal_pct, s.status_at, s.reported_digest,
    s.reported_seq, s.reported_at
FROM gateway.vehicle_state s JOIN gateway.vehicle v USING (vin)
WHERE s.vin = ANY(%(vins)s)
ORDER BY s.vin
FOR UPDATE OF s

-- name: save_state
UPDATE gateway.vehicle_state SET
    presence = %(presence)s, presence_since = %(presence_since)s, session = %(session)s,
    session_ended = %(session_ended)s, boot = %(boot)s, presence_at = %(presence_at)s,
    last_seen_at = %(last_seen_at)s, operational = %(operational)s, signal_pct = %(signal_pct)s,
    status = coalesce(%(new_status)s, status), status_at = %(status_at)s,
    reported_values = coalesce(%(new_values)s, reported_values),
    reported_digest = %(reported_digest)s, reported_seq = %(reported_seq)s,
    reported_at = %(reported_at)s
WHERE vin = %(vin)s

-- name: save_firmware
UPDATE gateway.vehicle SET firmware = %(firmware)s, updated_at = now()
WHERE vin = %(vin)s AND firmware <> %(firmware)s

-- name: save_answer
UPDATE gateway.command_log SET
    last_result = %(result)s, last_reason = %(reason)s, answered_at = %(at)s
WHERE command_id = %(command_id)s AND vin = %(vin)s
  AND (answered_at IS NULL OR answered_at <= %(at)s)

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
