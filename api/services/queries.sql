-- name: offer
SELECT s.service_id, s.code, s.name, s.category, s.description, s.requires_maintenance,
       s.required_blocks, s.safety_critical, s.min_compliance, s.vss_policy, s.min_firmware,
       s.hide_after_withdrawal,
       EXISTS (SELECT FROM config.mapping m
               WHERE m.service_code = s.code AND m.platform = %(model)s) AS on_platform,
       coalesce((SELECT jsonb_object_agg(p.tier, p.amount_minor)
                 FROM config.price p WHERE p.service_code = s.code), '{}') AS prices,
       coalesce((SELECT min(p.currency) FROM config.price p WHERE p.service_code = s.code),
                'EUR') AS currency
FROM config.service s
WHERE s.active AND (%(service)s::text IS NULL
                    OR s.code = %(service)s OR s.service_id::text = lower(%(service)s))
ORDER BY s.category, s.code;

-- name: firmware
SELECT firmware FROM gateway.vehicle_v1 WHERE vin = %(vin)s;

-- name: hidden
SELECT service_code FROM services.hidden WHERE customer_id = %(customer_id)s;

-- name: hide
INSERT INTO services.hidden (customer_id, service_code, at, reason)
VALUES (%(customer_id)s, %(service_code)s, %(at)s, %(reason)s)
ON CONFLICT DO NOTHING;

-- name: taken
-- Every time the car's services are, or will be, on: the engine's activations, and purchases the
-- engine has not seen yet.
SELECT a.service_code, a.starts_at, a.activated_at, a.expires_at, a.duration_days
FROM ota.activation_v1 a
WHERE a.vin = %(vin)s AND a.state = ANY(%(live)s)
UNION ALL
SELECT p.service_code, p.starts_at, NULL, NULL, p.duration_days
FROM services.purchase p
WHERE p.vin = %(vin)s AND p.state IN ('PAYMENT', 'QUEUED')
  AND NOT EXISTS (SELECT FROM ota.activation_v1 a WHERE a.activation_id = p.activation_id);

-- name: lock_vehicle
SELECT pg_advisory_xact_lock(hashtextextended('purchase:' || %(vin)s, 0));

-- name: purchase_by_key
SELECT activation_id, customer_id, vin, service_code, tier, duration_days, amount_minor, currency,
       starts_at, payment_id, state, refusal, request_hash, purchased_at
FROM services.purchase
WHERE customer_id = %(customer_id)s AND idempotency_key = %(idempotency_key)s;

-- name: purchase
SELECT activation_id, customer_id, vin, service_code, tier, duration_days, amount_minor, currency,
       starts_at, payment_id, state, refusal, request_hash, purchased_at
FROM services.purchase WHERE activation_id = %(activation_id)s;

-- name: lock_purchase
SELECT activation_id, customer_id, vin, service_code, tier, duration_days, amount_minor, currency,
       starts_at, payment_id, state, refusal, request_hash, purchased_at
FROM services.purchase WHERE activation_id = %(activation_id)s FOR UPDATE;

-- name: insert_purchase
INSERT INTO services.purchase
    (activation_id, customer_id, vin, service_code, tier, duration_days, amount_minor, currency,
     starts_at, state, gate, idempotency_key, request_hash, purchased_at)
VALUES (%(activation_id)s, %(customer_id)s, %(vin)s, %(service_code)s, %(tier)s,
        %(duration_days)s, %(amount_minor)s, %(currency)s, %(starts_at)s, %(state)s,
        %(gate)s::jsonb, %(idempotency_key)s, %(request_hash)s, %(at)s);

-- name: move_purchase
WITH old AS (
    SELECT activation_id, state FROM services.purchase
    WHERE activation_id = %(activation_id)s AND state = ANY(%(sources)s) FOR UPDATE
), moved AS (
    UPDATE services.purchase p SET
        state = %(target)s,
        payment_id = coalesce(%(payment_id)s::uuid, p.payment_id),
        payment_started_at = CASE WHEN %(target)s = 'PAYMENT' THEN %(at)s::timestamptz
                                  ELSE p.payment_started_at END,
        refusal = coalesce(%(refusal)s::jsonb, p.refusal),
        updated_at = %(at)s
    FROM old WHERE p.activation_id = old.activation_id
    RETURNING p.activation_id
)
INSERT INTO services.purchase_history
    (activation_id, at, from_state, event, to_state, actor, detail)
SELECT old.activation_id, %(at)s, old.state, %(event)s, %(target)s, %(actor)s, %(detail)s::jsonb
FROM old JOIN moved USING (activation_id);

-- name: cached_maintenance
SELECT body FROM services.maintenance_cache WHERE vin = %(vin)s AND fetched_at >= %(since)s;

-- name: cache_maintenance
INSERT INTO services.maintenance_cache AS c (vin, body, fetched_at)
VALUES (%(vin)s, %(body)s::jsonb, %(at)s)
ON CONFLICT (vin) DO UPDATE SET body = excluded.body, fetched_at = excluded.fetched_at;

-- name: activation
SELECT a.activation_id, a.vin, a.service_code, a.origin, a.customer_id, a.payment_id, a.state,
       a.duration_days, a.starts_at, a.purchased_at, a.queued_at, a.activated_at, a.expires_at,
       a.cancelled_at, a.total_attempts, a.ticket_number, a.final_result, a.charged, a.reason,
       a.switch_off_state
FROM ota.activation_v1 a WHERE a.activation_id = %(activation_id)s;

-- name: activations_of_customer
SELECT coalesce(a.activation_id, p.activation_id) AS activation_id,
       coalesce(a.vin, p.vin) AS vin, coalesce(a.service_code, p.service_code) AS service_code,
       a.state, p.state AS purchase_state, a.origin, a.activated_at, a.expires_at,
       coalesce(a.purchased_at, p.purchased_at) AS purchased_at
FROM (SELECT * FROM services.purchase WHERE customer_id = %(customer_id)s) p
FULL JOIN (SELECT * FROM ota.activation_v1 WHERE customer_id = %(customer_id)s) a
    USING (activation_id)
WHERE %(vin)s::text IS NULL OR coalesce(a.vin, p.vin) = %(vin)s
ORDER BY purchased_at DESC LIMIT 200;

-- name: activation_history
SELECT at, from_state, event, to_state, cause, actor
FROM ota.activation_history_v1 WHERE activation_id = %(activation_id)s ORDER BY id;

-- name: purchase_history
SELECT at, from_state, event, to_state, NULL AS cause, actor
FROM services.purchase_history WHERE activation_id = %(activation_id)s ORDER BY id;

-- name: attempts
SELECT direction, attempt_number, started_at, ended_at, response_code, response_message, result
FROM ota.attempt_v1 WHERE activation_id = %(activation_id)s
ORDER BY direction DESC, attempt_number;

-- name: granted_request
SELECT eligibility, refund_amount_minor, status FROM services.cancellation_request
WHERE activation_id = %(activation_id)s AND eligibility = 'ELIGIBLE';

-- name: was_denied
SELECT EXISTS (SELECT FROM services.cancellation_request
               WHERE activation_id = %(activation_id)s AND eligibility = 'INELIGIBLE');

-- name: insert_request
INSERT INTO services.cancellation_request
    (request_id, activation_id, customer_id, requested_at, reason, eligibility,
     refund_amount_minor, status)
VALUES (%(request_id)s, %(activation_id)s, %(customer_id)s, %(at)s, %(reason)s, %(eligibility)s,
        %(refund_amount_minor)s, %(status)s);

-- name: complete_request
UPDATE services.cancellation_request SET
    status = 'COMPLETED', switched_off = %(switched_off)s, ticket_number = %(ticket_number)s,
    updated_at = %(at)s
WHERE activation_id = %(activation_id)s AND status = 'APPROVED'
RETURNING customer_id;
