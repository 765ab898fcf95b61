-- The IoT API: clients, tokens, requests, callbacks.

-- name: insert_client
INSERT INTO gateway.iot_client (client_id, scopes, every_vehicle, models, callback_url,
    telemetry_url, callback_secret)
VALUES (%(client_id)s, %(scopes)s, %(every_vehicle)s, %(models)s, %(callback_url)s,
    %(telemetry_url)s, %(callback_secret)s)
ON CONFLICT (client_id) DO NOTHING

-- name: clients
SELECT c.client_id, c.scopes, c.every_vehicle, c.models, c.status, c.callback_url,
    c.telemetry_url, c.created_at,
    (SELECT count(*) FROM gateway.iot_client_vehicle v WHERE v.client_id = c.client_id) AS vehicles
FROM gateway.iot_client c
WHERE %(client_id)s::text IS NULL OR c.client_id = %(client_id)s
ORDER BY c.client_id

-- name: allow_vehicle
INSERT INTO gateway.iot_client_vehicle (client_id, vin) VALUES (%(client_id)s, %(vin)s)
ON CONFLICT DO NOTHING

-- name: disallow_vehicle
DELETE FROM gateway.iot_client_vehicle WHERE client_id = %(client_id)s AND vin = %(vin)s

-- name: insert_secret
INSERT INTO gateway.iot_client_secret (secret_hash, client_id, created_at)
VALUES (%(secret_hash)s, %(client_id)s, %(now)s)

-- name: end_secrets
UPDATE gateway.iot_client_secret SET expires_at = %(until)s
WHERE client_id = %(client_id)s AND (expires_at IS NULL OR expires_at > %(until)s)

-- name: revoke_client
UPDATE gateway.iot_client SET status = 'REVOKED' WHERE client_id = %(client_id)s

-- name: end_tokens
DELETE FROM gateway.iot_token WHERE client_id = %(client_id)s

-- name: end_callbacks
UPDATE gateway.iot_callback SET state = 'DEAD', next_at = NULL, last_answer = 'client revoked'
WHERE client_id = %(client_id)s AND state = 'PENDING'

-- name: forget_pushes
DELETE FROM gateway.iot_push WHERE client_id = %(client_id)s

-- name: by_secret
SELECT c.client_id, c.scopes, c.every_vehicle
FROM gateway.iot_client_secret s JOIN gateway.iot_client c USING (client_id)
WHERE s.client_id = %(client_id)s AND s.secret_hash = %(secret_hash)s AND c.status = 'ACTIVE'
  AND (s.expires_at IS NULL OR s.expires_at > %(now)s)

-- name: insert_token
INSERT INTO gateway.iot_token (token_hash, client_id, scopes, expires_at)
VALUES (%(token_hash)s, %(client_id)s, %(scopes)s, %(expires_at)s)

-- name: forget_tokens
DELETE FROM gateway.iot_token WHERE expires_at <= %(now)s

-- name: by_token
SELECT c.client_id, t.scopes, c.every_vehicle
FROM gateway.iot_token t JOIN gateway.iot_client c USING (client_id)
WHERE t.token_hash = %(token_hash)s AND t.expires_at > %(now)s AND c.status = 'ACTIVE'

-- name: may_reach
SELECT EXISTS (SELECT FROM gateway.iot_client_vehicle
    WHERE client_id = %(client_id)s AND vin = %(vin)s)
  OR EXISTS (SELECT FROM gateway.iot_client c JOIN gateway.vehicle v ON v.model = ANY(c.models)
    WHERE c.client_id = %(client_id)s AND v.vin = %(vin)s)

-- name: model_exists
SELECT EXISTS (SELECT FROM config.vehicle_model_v1 WHERE code = %(model)s)

-- name: end_keys
UPDATE gateway.iot_client_key SET expires_at = %(until)s
WHERE client_id = %(client_id)s AND (expires_at IS NULL OR expires_at > %(until)s)

-- name: insert_key
INSERT INTO gateway.iot_client_key (key_id, client_id, secret, created_at)
VALUES (%(key_id)s, %(client_id)s, %(secret)s, %(now)s)

-- name: by_key
SELECT c.client_id, c.scopes, c.every_vehicle, k.secret
FROM gateway.iot_client_key k JOIN gateway.iot_client c USING (client_id)
WHERE k.key_id = %(key_id)s AND c.status = 'ACTIVE'
  AND (k.expires_at IS NULL OR k.expires_at > %(now)s)

-- name: insert_certificate
INSERT INTO gateway.iot_client_certificate AS k (fingerprint, client_id, created_at)
VALUES (%(fingerprint)s, %(client_id)s, %(now)s)
ON CONFLICT (fingerprint) DO UPDATE SET client_id = k.client_id
    WHERE k.client_id = EXCLUDED.client_id

-- name: delete_certificate
DELETE FROM gateway.iot_client_certificate
WHERE fingerprint = %(fingerprint)s AND client_id = %(client_id)s

-- name: by_certificate
SELECT c.client_id, c.scopes, c.every_vehicle
FROM gateway.iot_client_certificate k JOIN gateway.iot_client c USING (client_id)
WHERE k.fingerprint = %(fingerprint)s AND c.status = 'ACTIVE'

-- name: vehicle
SELECT vin, model, firmware, presence, last_seen_at, operational, signal_pct, status,
    reported_values, reported_seq, reported_at
FROM gateway.vehicle_v1 WHERE vin = %(vin)s AND enrolment = 'ENROLLED'

-- name: mapping
SELECT settings, safe_state FROM config.mapping_v1
WHERE service_code = %(service)s AND platform = %(model)s

-- name: capabilities
SELECT module, parameter, allowed FROM config.capability_v1
WHERE model = %(model)s AND firmware_version = %(firmware)s

-- What customers use on the vehicle, or are being delivered (S3).
-- name: in_use
SELECT a.service_code AS service, item->>'module' AS module, item->>'parameter' AS parameter
FROM ota.activation_v1 a
JOIN config.mapping_v1 m ON m.service_code = a.service_code AND m.platform = %(model)s
CROSS JOIN LATERAL jsonb_array_elements(m.settings) AS item
WHERE a.vin = %(vin)s AND a.state = ANY(%(states)s)

-- name: lock_request
SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))

-- name: request
SELECT r.body_hash, c.command_id, c.issued_at
FROM gateway.iot_request r JOIN gateway.command c USING (command_id)
WHERE r.client_id = %(client_id)s AND r.request_id = %(request_id)s

-- name: texts
SELECT count(*) AS count, min(issued_at) AS oldest FROM gateway.command
WHERE vin = %(vin)s AND kind = 'DISPLAY' AND issued_at > %(after)s

-- name: insert_request
INSERT INTO gateway.iot_request (client_id, request_id, body_hash, command_id, service_id,
    configuration, requested_at)
VALUES (%(client_id)s, %(request_id)s, %(body_hash)s, %(command_id)s, %(service_id)s,
    %(configuration)s, %(now)s)

-- Every configuration command of the vehicle, or the one command that is named. Those of the other door have no request; how they
-- stand is read from the vehicle's answer and report.
-- name: history
SELECT l.command_id, coalesce(r.request_id, l.command_id::text) AS request_id,
    CASE
        WHEN c.state IS NOT NULL THEN c.state
        WHEN l.last_result = 'REJECTED' THEN 'FAILED'
        WHEN l.last_result = 'APPLIED' AND s.reported_seq >= l.seq THEN 'COMPLETED'
        WHEN l.admitted_at < %(late)s THEN 'FAILED'
        ELSE 'IN_PROGRESS'
    END AS status,
    coalesce(c.completed_at, l.answered_at, l.admitted_at) AS timestamp,
    coalesce(c.error_code, l.last_reason) AS error_code, c.completed_at,
    l.service AS service_id, l.content->'values' AS values, l.admitted_at AS requested_at
FROM gateway.command_log_v1 l
LEFT JOIN gateway.command c USING (command_id)
LEFT JOIN gateway.iot_request r USING (command_id)
LEFT JOIN gateway.vehicle_v1 s ON s.vin = l.vin
WHERE l.vin = %(vin)s
  AND CASE WHEN %(command_id)s::uuid IS NULL THEN l.kind = 'CONFIGURE'
      ELSE l.command_id = %(command_id)s END
ORDER BY l.seq DESC LIMIT %(limit)s

-- name: has_events
SELECT to_regclass('telemetry.event_v1') IS NOT NULL

-- name: events
SELECT at, type, code, detail FROM telemetry.event_v1
WHERE vin = %(vin)s ORDER BY at DESC LIMIT 50

-- name: wanted_callbacks
SELECT r.client_id, r.request_id, r.command_id
FROM gateway.iot_request r JOIN gateway.iot_client c USING (client_id)
WHERE r.command_id = ANY(%(ids)s) AND c.callback_url IS NOT NULL AND c.status = 'ACTIVE'

-- name: insert_callback
INSERT INTO gateway.iot_callback (callback_id, client_id, command_id, body, state, next_at,
    created_at)
VALUES (%(callback_id)s, %(client_id)s, %(command_id)s, %(body)s, 'PENDING', %(now)s, %(now)s)
ON CONFLICT (command_id) DO NOTHING

-- name: clients_with_callbacks
SELECT c.client_id FROM gateway.iot_client c
WHERE c.status = 'ACTIVE' AND c.callback_url IS NOT NULL AND EXISTS (
    SELECT FROM gateway.iot_callback b
    WHERE b.client_id = c.client_id AND b.state = 'PENDING' AND b.next_at <= %(now)s)

-- name: claim_callbacks
WITH due AS (
    SELECT callback_id FROM gateway.iot_callback
    WHERE client_id = %(client_id)s AND state = 'PENDING' AND next_at <= %(now)s
    ORDER BY next_at LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
UPDATE gateway.iot_callback b SET next_at = %(lease)s
FROM due, gateway.iot_client c
WHERE b.callback_id = due.callback_id AND c.client_id = b.client_id AND c.status = 'ACTIVE'
  AND c.callback_url IS NOT NULL
RETURNING b.callback_id, b.body, b.attempts, c.callback_url, c.callback_secret

-- name: release_callbacks
UPDATE gateway.iot_callback SET next_at = %(now)s
WHERE callback_id = ANY(%(ids)s) AND state = 'PENDING'

-- name: save_callback
UPDATE gateway.iot_callback SET state = %(state)s, attempts = %(attempts)s, next_at = %(next_at)s,
    last_answer = %(last_answer)s
WHERE callback_id = %(callback_id)s AND state = 'PENDING'

-- name: callbacks
SELECT callback_id, client_id, command_id, state, attempts, next_at, last_answer, created_at
FROM gateway.iot_callback
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY created_at DESC LIMIT %(limit)s

-- name: revive_callbacks
UPDATE gateway.iot_callback b SET state = 'PENDING', attempts = 0, next_at = %(now)s
FROM gateway.iot_client c
WHERE b.state = 'DEAD' AND (%(callback_id)s::uuid IS NULL OR b.callback_id = %(callback_id)s)
  AND c.client_id = b.client_id AND c.status = 'ACTIVE'

-- name: count_callbacks
SELECT state, count(*) AS callbacks FROM gateway.iot_callback
WHERE state IN ('PENDING', 'DEAD') GROUP BY state

-- Whose telemetry anybody wants, roughly: models are looked up where it is queued.
-- name: telemetry_reach
SELECT c.every_vehicle OR c.models <> '{}' AS everything,
    ARRAY(SELECT v.vin FROM gateway.iot_client_vehicle v WHERE v.client_id = c.client_id) AS vins
FROM gateway.iot_client c
WHERE c.telemetry_url IS NOT NULL AND c.status = 'ACTIVE' AND 'read' = ANY(c.scopes)

-- name: insert_pushes
WITH reader AS MATERIALIZED (
    SELECT c.client_id, c.every_vehicle, c.models, c.client_id <> ALL(%(full)s) AS has_room
    FROM gateway.iot_client c
    WHERE c.telemetry_url IS NOT NULL AND c.status = 'ACTIVE' AND 'read' = ANY(c.scopes)
), wanted AS (
    SELECT r.client_id, r.has_room, b.vin, b.boot, b.n, b.body
    FROM unnest(%(vins)s::text[], %(boots)s::bigint[], %(ns)s::bigint[], %(bodies)s::text[])
        AS b (vin, boot, n, body)
    JOIN gateway.vehicle v ON v.vin = b.vin AND v.status = 'ENROLLED'
    JOIN reader r ON r.every_vehicle OR v.model = ANY(r.models) OR EXISTS (
        SELECT FROM gateway.iot_client_vehicle a
        WHERE a.client_id = r.client_id AND a.vin = b.vin)
), put AS (
    INSERT INTO gateway.iot_push (client_id, vin, boot, n, body, created_at, due_at)
    SELECT client_id, vin, boot, n, body, %(now)s, %(now)s FROM wanted WHERE has_room
    ON CONFLICT (client_id, vin, boot, n) DO NOTHING
    RETURNING client_id
)
SELECT w.client_id, count(*) FILTER (WHERE NOT w.has_room) AS lost,
    (SELECT count(*) FROM put p WHERE p.client_id = w.client_id) AS put
FROM wanted w GROUP BY w.client_id

-- name: clients_with_pushes
SELECT c.client_id FROM gateway.iot_client c
WHERE c.status = 'ACTIVE' AND c.telemetry_url IS NOT NULL
  AND NOT EXISTS (SELECT FROM gateway.iot_push_pause w
      WHERE w.client_id = c.client_id AND w.next_at > %(now)s)
  AND EXISTS (SELECT FROM gateway.iot_push p
      WHERE p.client_id = c.client_id AND p.due_at <= %(now)s)

-- name: claim_pushes
WITH due AS (
    SELECT push_id FROM gateway.iot_push
    WHERE client_id = %(client_id)s AND due_at <= %(now)s
      AND NOT EXISTS (SELECT FROM gateway.iot_push_pause w
          WHERE w.client_id = %(client_id)s AND w.next_at > %(now)s)
    ORDER BY due_at LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
UPDATE gateway.iot_push p SET due_at = %(lease)s
FROM due, gateway.iot_client c
WHERE p.push_id = due.push_id AND c.client_id = p.client_id AND c.status = 'ACTIVE'
  AND c.telemetry_url IS NOT NULL
RETURNING p.push_id, p.vin, p.boot, p.n, p.body, p.attempts, c.telemetry_url, c.callback_secret

-- name: delete_pushes
DELETE FROM gateway.iot_push WHERE push_id = ANY(%(ids)s)

-- To be tried again, each at its own time.
-- name: postpone_pushes
UPDATE gateway.iot_push p SET due_at = again.at, attempts = p.attempts + 1
FROM unnest(%(ids)s::bigint[], %(ats)s::timestamptz[]) AS again (push_id, at)
WHERE p.push_id = again.push_id

-- name: release_pushes
UPDATE gateway.iot_push SET due_at = %(now)s WHERE push_id = ANY(%(ids)s)

-- name: expire_pushes
DELETE FROM gateway.iot_push WHERE created_at < %(oldest)s

-- name: waiting_pushes
SELECT client_id, count(*) AS messages FROM gateway.iot_push GROUP BY client_id

-- name: count_failures
SELECT failures FROM gateway.iot_push_pause WHERE client_id = %(client_id)s

-- name: pause
INSERT INTO gateway.iot_push_pause AS p (client_id, failures, next_at)
VALUES (%(client_id)s, 1, %(next_at)s)
ON CONFLICT (client_id) DO UPDATE SET failures = p.failures + 1, next_at = EXCLUDED.next_at

-- name: end_pause
DELETE FROM gateway.iot_push_pause WHERE client_id = %(client_id)s
