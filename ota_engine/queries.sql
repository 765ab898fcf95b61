-- name: lock_vehicle
-- One transaction at a time per vehicle, over all replicas.
SELECT pg_advisory_xact_lock(hashtextextended('ota:' || %(vin)s, 0))

-- name: try_lock_vehicle
SELECT pg_try_advisory_xact_lock(hashtextextended('ota:' || %(vin)s, 0))

-- name: vehicle
SELECT vin, model, firmware, enrolment, presence, operational, status, signal_pct, last_seen_at,
       reported_values, reported_seq, reported_at
FROM gateway.vehicle_v1 WHERE vin = %(vin)s

-- name: interest
-- Whether a message of this vehicle can matter: to the registry at all, to an open delivery, or
-- to one that was given up after its command went out.
SELECT EXISTS (SELECT FROM gateway.vehicle_v1 WHERE vin = %(vin)s) AS known,
       EXISTS (SELECT FROM ota.delivery WHERE vin = %(vin)s AND due_at IS NOT NULL) AS open,
       EXISTS (SELECT FROM ota.delivery d JOIN ota.activation a USING (activation_id)
               WHERE a.vin = %(vin)s AND d.direction = 'ON' AND d.state IN ('FAILED', 'ABANDONED')
                 AND d.first_seq IS NOT NULL AND a.state <> 'ACTIVE') AS watched

-- name: insert_activation
INSERT INTO ota.activation (activation_id, vin, service_code, origin, customer_id, payment_id,
    order_id, state, paid, duration_days, starts_at, purchased_at, queued_at)
VALUES (%(activation_id)s, %(vin)s, %(service_code)s, %(origin)s, %(customer_id)s, %(payment_id)s,
    %(order_id)s, %(state)s, %(paid)s, %(duration_days)s, %(starts_at)s, %(purchased_at)s,
    %(queued_at)s)
ON CONFLICT (activation_id) DO NOTHING

-- name: activation
SELECT activation_id, vin, service_code, origin, customer_id, payment_id, order_id, state, paid,
       duration_days, starts_at, purchased_at, activated_at, expires_at, total_attempts, ticket_id,
       charged, release_ordered_at, withdrawn
FROM ota.activation WHERE activation_id = %(activation_id)s FOR UPDATE

-- name: vin_of_activation
SELECT vin FROM ota.activation WHERE activation_id = %(activation_id)s

-- name: history
INSERT INTO ota.activation_history (activation_id, at, from_state, event, to_state, cause, actor, detail)
VALUES (%(activation_id)s, %(at)s, %(from_state)s, %(event)s, %(to_state)s, %(cause)s, %(actor)s,
    %(detail)s)

-- name: move_activation
WITH moved AS (
    UPDATE ota.activation SET
        state = %(to_state)s,
        reason = coalesce(%(cause)s, reason),
        queued_at = CASE WHEN %(to_state)s = 'QUEUED' THEN %(at)s ELSE queued_at END,
        activated_at = CASE WHEN %(to_state)s = 'ACTIVE' THEN %(at)s ELSE activated_at END,
        cancelled_at = CASE WHEN %(to_state)s LIKE 'CANCELLED_%%' THEN %(at)s ELSE cancelled_at END,
        final_result = CASE
            WHEN %(to_state)s = 'ACTIVE' AND %(from_state)s = 'MANUAL_ATTEMPT' THEN 'MANUAL_ACTIVATION'
            WHEN %(to_state)s IN ('ACTIVE', 'FAILED_NO_CHARGE') THEN %(to_state)s
            ELSE final_result END,
        updated_at = %(at)s
    WHERE activation_id = %(activation_id)s AND state = %(from_state)s
    RETURNING activation_id
)
INSERT INTO ota.activation_history (activation_id, at, from_state, event, to_state, cause, actor, detail)
SELECT activation_id, %(at)s, %(from_state)s, %(event)s, %(to_state)s, %(cause)s, %(actor)s, %(detail)s
FROM moved

-- name: set_active
UPDATE ota.activation SET expires_at = %(expires_at)s, charged = %(charged)s, updated_at = %(at)s
WHERE activation_id = %(activation_id)s AND state = 'ACTIVE'

-- name: count_attempt
UPDATE ota.activation SET total_attempts = total_attempts + 1, updated_at = %(at)s
WHERE activation_id = %(activation_id)s

-- name: set_ticket
UPDATE ota.activation SET ticket_id = %(ticket_id)s, updated_at = %(at)s
WHERE activation_id = %(activation_id)s

-- name: order_release
-- Once per activation: the row count says whether this call was the one.
UPDATE ota.activation SET release_ordered_at = %(at)s, updated_at = %(at)s
WHERE activation_id = %(activation_id)s AND release_ordered_at IS NULL

-- name: set_withdrawn
UPDATE ota.activation SET withdrawn = %(withdrawn)s, updated_at = %(at)s
WHERE activation_id = %(activation_id)s

-- name: in_use_elsewhere
-- Another activation of the same service that the customer may be using on this vehicle.
SELECT EXISTS (
    SELECT FROM ota.activation
    WHERE vin = %(vin)s AND service_code = %(service_code)s AND activation_id <> %(activation_id)s
      AND state IN ('ACTIVE', 'CANCELLED_NO_REFUND'))

-- name: needed_by_others
SELECT d.wanted AS settings
FROM ota.activation a JOIN ota.delivery d USING (activation_id)
WHERE a.vin = %(vin)s AND a.activation_id <> %(activation_id)s
  AND a.state IN ('ACTIVE', 'CANCELLED_NO_REFUND') AND d.direction = 'ON' AND d.state = 'DONE'

-- name: services_in_use
SELECT d.wanted, d.revert, a.expires_at
FROM ota.activation a JOIN ota.delivery d USING (activation_id)
WHERE a.vin = %(vin)s AND a.state IN ('ACTIVE', 'CANCELLED_NO_REFUND')
  AND d.direction = 'ON' AND d.state = 'DONE'
ORDER BY a.activated_at, d.created_at

-- name: want
SELECT outcome, version, refused
FROM gateway.want_v1(%(vin)s, %(values)s, %(cause)s, %(now)s)

-- name: mapping
SELECT m.settings, m.safe_state, s.max_retries
FROM config.mapping_v1 m JOIN config.service_v1 s ON s.code = m.service_code
WHERE m.service_code = %(service_code)s AND m.platform = %(platform)s

-- name: capabilities
SELECT module, parameter, allowed FROM config.capability_v1
WHERE model = %(model)s AND firmware_version = %(firmware)s

-- name: admit
SELECT outcome, seq, retry_after_s FROM gateway.admit_command_v1(
    %(command_id)s, %(vin)s, %(kind)s, 'ota', %(service)s, %(content)s, %(now)s, %(quota)s)

-- name: insert_delivery
INSERT INTO ota.delivery (delivery_id, activation_id, vin, direction, wanted, revert, safe_state,
    state, max_retries, due_at, created_at, updated_at)
VALUES (%(delivery_id)s, %(activation_id)s, %(vin)s, %(direction)s, %(wanted)s, %(revert)s,
    %(safe_state)s, 'WAITING', %(max_retries)s, %(at)s, %(at)s, %(at)s)
ON CONFLICT DO NOTHING

-- name: insert_correction
INSERT INTO ota.delivery (delivery_id, vin, direction, drift_id, service_code, wanted, revert,
    safe_state, valid_until, state, max_retries, due_at, created_at, updated_at)
VALUES (%(delivery_id)s, %(vin)s, 'CORRECTION', %(drift_id)s, %(service_code)s, %(wanted)s,
    %(revert)s, %(safe_state)s, %(valid_until)s, 'WAITING', %(max_retries)s, %(at)s, %(at)s,
    %(at)s)

-- name: wanted_values
SELECT wanted_values FROM gateway.wanted_v1 WHERE vin = %(vin)s

-- name: drift
SELECT drift_id, vin, state, cause, difference FROM gateway.drift_v1
WHERE drift_id = %(drift_id)s AND vin = %(vin)s

-- name: drift_failed
SELECT gateway.drift_failed_v1(%(drift_id)s, %(reason)s, %(ticket_number)s, %(now)s)

-- name: platform_settings
-- Every optional parameter of a platform, by the services that switch it; those in use first.
SELECT m.service_code, m.settings, m.safe_state,
       s.max_retries, u.customer_id, coalesce(u.paid, false) AS paid
FROM config.mapping_v1 m JOIN config.service_v1 s ON s.code = m.service_code
LEFT JOIN LATERAL (
    SELECT a.customer_id, a.paid FROM ota.activation a
    WHERE a.vin = %(vin)s AND a.service_code = m.service_code
      AND a.state IN ('ACTIVE', 'CANCELLED_NO_REFUND')
    ORDER BY a.activated_at DESC LIMIT 1) u ON true
WHERE m.platform = %(platform)s
ORDER BY u.paid IS NULL, m.service_code

-- name: delivery
SELECT delivery_id, activation_id, vin, direction, wanted, revert, safe_state, state, retries,
       max_retries, due_at, safe_state_by, check_until,
       deferred_at, phase, command_id, first_seq, proof_seq,
       applied, shown, query_id, queried_at, attempt, attempt_open, last_reason, created_at,
       drift_id, service_code, valid_until
FROM ota.delivery WHERE delivery_id = %(delivery_id)s FOR UPDATE SKIP LOCKED

-- name: open_deliveries
SELECT delivery_id, activation_id, vin, direction, wanted, revert, safe_state, state, retries,
       max_retries, due_at, safe_state_by, check_until,
       deferred_at, phase, command_id, first_seq, proof_seq,
       applied, shown, query_id, queried_at, attempt, attempt_open, last_reason, created_at,
       drift_id, service_code, valid_until
FROM ota.delivery WHERE vin = %(vin)s AND due_at IS NOT NULL
ORDER BY created_at, delivery_id FOR UPDATE

-- name: deliveries_of
SELECT delivery_id, activation_id, vin, direction, wanted, revert, safe_state, state, retries,
       max_retries, due_at, safe_state_by, check_until,
       deferred_at, phase, command_id, first_seq, proof_seq,
       applied, shown, query_id, queried_at, attempt, attempt_open, last_reason, created_at,
       drift_id, service_code, valid_until
FROM ota.delivery WHERE activation_id = %(activation_id)s AND direction = %(direction)s
ORDER BY created_at, delivery_id FOR UPDATE

-- name: given_up
-- ON deliveries that ended without success although a command went out, and were not undone yet.
SELECT d.delivery_id, d.activation_id, d.vin, d.direction, d.wanted, d.revert, d.safe_state, d.state,
       d.retries, d.max_retries, d.due_at, d.safe_state_by, d.check_until, d.deferred_at, d.phase, d.command_id,
       d.first_seq, d.proof_seq, d.applied, d.shown, d.query_id, d.queried_at, d.attempt,
       d.attempt_open, d.last_reason, d.created_at, d.drift_id, d.service_code, d.valid_until
FROM ota.delivery d JOIN ota.activation a USING (activation_id)
WHERE a.vin = %(vin)s AND d.direction = 'ON' AND d.state IN ('FAILED', 'ABANDONED')
  AND d.first_seq <= %(seq)s
  AND a.state IN ('ESCALATED', 'FAILED_NO_CHARGE', 'CANCELLED_REFUNDED', 'PERMANENT_FAILURE')
  AND NOT EXISTS (SELECT FROM ota.delivery o WHERE o.activation_id = d.activation_id
                  AND o.direction = 'OFF' AND o.created_at >= d.created_at)
ORDER BY d.created_at

-- name: save_delivery
UPDATE ota.delivery SET
    state = %(state)s, retries = %(retries)s, max_retries = %(max_retries)s, due_at = %(due_at)s,
    safe_state_by = %(safe_state_by)s, check_until = %(check_until)s, deferred_at = %(deferred_at)s, phase = %(phase)s,
    command_id = %(command_id)s, first_seq = %(first_seq)s, proof_seq = %(proof_seq)s,
    applied = %(applied)s, shown = %(shown)s, query_id = %(query_id)s, queried_at = %(queried_at)s,
    attempt = %(attempt)s, attempt_open = %(attempt_open)s, last_reason = %(last_reason)s,
    updated_at = %(now)s
WHERE delivery_id = %(delivery_id)s AND state = %(from_state)s

-- name: due_deliveries
-- What is due and may go: of the waiting ones the oldest of a vehicle that has none in flight. What
-- a customer bought or gave back goes before a correction, and need not wait for one that has no
-- command out (`yield_corrections`).
SELECT d.delivery_id AS id, d.vin FROM ota.delivery d
WHERE d.due_at <= %(now)s
  AND (d.state <> 'WAITING' OR (
    NOT EXISTS (SELECT FROM ota.delivery o WHERE o.vin = d.vin
                AND o.state IN ('CHECKING', 'COMMANDED', 'QUERYING', 'DEFERRED')
                AND NOT (o.direction = 'CORRECTION' AND d.direction <> 'CORRECTION'
                         AND o.state IN ('CHECKING', 'DEFERRED')))
    AND NOT EXISTS (SELECT FROM ota.delivery o WHERE o.vin = d.vin AND o.state = 'WAITING'
                    AND o.due_at <= %(now)s
                    AND (o.direction = 'CORRECTION', o.created_at, o.delivery_id)
                        < (d.direction = 'CORRECTION', d.created_at, d.delivery_id))))
ORDER BY d.due_at LIMIT %(batch)s

-- name: vehicle_busy
SELECT EXISTS (SELECT FROM ota.delivery WHERE vin = %(vin)s
    AND state IN ('CHECKING', 'COMMANDED', 'QUERYING', 'DEFERRED'))

-- name: yield_corrections
-- Corrections of a vehicle that hold it without a command out go back in the line.
UPDATE ota.delivery SET state = 'WAITING', due_at = %(now)s, check_until = NULL, updated_at = %(now)s
WHERE vin = %(vin)s AND direction = 'CORRECTION' AND state IN ('CHECKING', 'DEFERRED')

-- name: due_activations
(SELECT activation_id AS id, vin FROM ota.activation
 WHERE state = 'SCHEDULED' AND starts_at <= %(now)s ORDER BY starts_at LIMIT %(batch)s)
UNION ALL
(SELECT activation_id, vin FROM ota.activation
 WHERE state IN ('ACTIVE', 'CANCELLED_NO_REFUND') AND expires_at <= %(now)s
 ORDER BY expires_at LIMIT %(batch)s)

-- name: claim_expiring
-- Takes the notices that are due, so that each is sent once.
UPDATE ota.activation SET expiry_notified = true WHERE activation_id IN (
    SELECT activation_id FROM ota.activation
    WHERE state IN ('ACTIVE', 'CANCELLED_NO_REFUND') AND NOT expiry_notified
      AND expires_at > %(now)s
      AND expires_at <= %(now)s + make_interval(secs => greatest(%(long_s)s, %(short_s)s))
      AND expires_at <= %(now)s + make_interval(secs => CASE
          WHEN expires_at - activated_at > make_interval(days => %(long_over_days)s)
          THEN %(long_s)s ELSE %(short_s)s END)
    ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
RETURNING activation_id, vin, service_code, customer_id, expires_at

-- name: insert_attempt
INSERT INTO ota.attempt (activation_id, delivery_id, attempt_number, started_at, snapshot, command_id)
VALUES (%(activation_id)s, %(delivery_id)s, %(attempt)s, %(at)s, %(snapshot)s, %(command_id)s)

-- name: attempt_command
UPDATE ota.attempt SET command_id = %(command_id)s
WHERE delivery_id = %(delivery_id)s AND attempt_number = %(attempt)s AND ended_at IS NULL

-- name: attempt_response
UPDATE ota.attempt SET response_code = %(code)s, response_message = %(message)s
WHERE delivery_id = %(delivery_id)s AND attempt_number = %(attempt)s AND ended_at IS NULL

-- name: end_attempt
UPDATE ota.attempt SET ended_at = %(at)s, result = %(result)s,
    response_code = coalesce(%(code)s, response_code),
    response_message = coalesce(%(message)s, response_message)
WHERE delivery_id = %(delivery_id)s AND attempt_number = %(attempt)s AND ended_at IS NULL

-- name: attempts
SELECT d.direction, a.attempt_number, a.started_at, a.ended_at, a.snapshot, a.command_id,
       a.response_code, a.response_message, a.result
FROM ota.attempt a JOIN ota.delivery d USING (delivery_id)
WHERE a.activation_id = %(activation_id)s ORDER BY a.started_at, a.attempt_number

-- name: insert_command
INSERT INTO ota.command (command_id, vin, seq, kind, activation_id, delivery_id, state, body,
    issued_at, expires_at, publish_after)
VALUES (%(command_id)s, %(vin)s, %(seq)s, %(kind)s, %(activation_id)s, %(delivery_id)s, 'QUEUED',
    %(body)s, %(issued_at)s, %(expires_at)s, %(publish_after)s)

-- name: mark_published
UPDATE ota.command SET state = 'IN_PROGRESS', published_at = %(at)s
WHERE command_id = %(command_id)s AND state = 'QUEUED'

-- name: close_command
UPDATE ota.command SET state = %(state)s, completed_at = %(at)s, reason = coalesce(%(reason)s, reason)
WHERE command_id = %(command_id)s AND state IN ('QUEUED', 'IN_PROGRESS')

-- name: answer_command
UPDATE ota.command SET answered_at = %(at)s, answer_at = %(answer_at)s, result = %(result)s, reason = %(reason)s
WHERE command_id = %(command_id)s

-- name: command
SELECT command_id, vin, seq, kind, activation_id, delivery_id, state, result, reason,
       answer_at
FROM ota.command WHERE command_id = %(command_id)s AND vin = %(vin)s FOR UPDATE

-- name: command_by_seq
SELECT command_id, vin, seq, kind, activation_id, delivery_id, state, result, reason,
       answer_at
FROM ota.command WHERE vin = %(vin)s AND seq = %(seq)s FOR UPDATE

-- name: command_in_flight
SELECT command_id, vin, seq, kind, activation_id, delivery_id, state, result, reason,
       answer_at
FROM ota.command WHERE vin = %(vin)s AND kind = 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS')
FOR UPDATE

-- name: overtaken
-- A later command went out before this one: ours, as after a broker's crash, or the IoT API's.
SELECT EXISTS (SELECT FROM ota.command
        WHERE vin = %(vin)s AND seq > %(seq)s AND published_at IS NOT NULL)
    OR EXISTS (SELECT FROM gateway.command_log_v1
        WHERE vin = %(vin)s AND seq > %(seq)s AND source <> 'ota')

-- name: text_to_show
SELECT body FROM ota.command
WHERE command_id = %(command_id)s AND kind = 'DISPLAY' AND expires_at > %(now)s

-- name: body_of_delivery
-- The command a report names, else the last one of the delivery.
SELECT body FROM ota.command WHERE delivery_id = %(delivery_id)s AND kind = 'CONFIGURE'
ORDER BY (seq = %(seq)s) DESC, seq DESC LIMIT 1

-- name: claim_unpublished
-- Committed but, because of a crash or a lost broker, perhaps never sent: send it (again). A text
-- has no delivery that asks and tries anew, so it is sent, ever less often, until it is answered.
UPDATE ota.command SET publish_after = CASE WHEN state = 'QUEUED' THEN %(next)s::timestamptz
    ELSE %(now)s::timestamptz + (%(now)s::timestamptz - issued_at) END
WHERE command_id IN (
    SELECT command_id FROM ota.command
    WHERE (state = 'QUEUED' OR state = 'IN_PROGRESS' AND kind = 'DISPLAY' AND answered_at IS NULL)
        AND publish_after <= %(now)s AND expires_at > %(now)s
    ORDER BY publish_after LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
RETURNING body

-- name: sweep_unanswered
UPDATE ota.command SET state = 'FAILED', completed_at = %(now)s, reason = coalesce(reason, 'EXPIRED')
WHERE command_id IN (
    SELECT command_id FROM ota.command
    WHERE kind <> 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS') AND expires_at <= %(now)s
    ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)

-- name: insert_ticket
INSERT INTO support.ticket (ticket_id, activation_id, vin, customer_id, service_code, payment_id, kind,
    priority, error_code, error_message, package, first_contact_due, resolution_due, created_at,
    updated_at)
VALUES (%(ticket_id)s, %(activation_id)s, %(vin)s, %(customer_id)s, %(service_code)s, %(payment_id)s,
    %(kind)s, %(priority)s, %(error_code)s, %(error_message)s, %(package)s, %(first_contact_due)s,
    %(resolution_due)s, %(at)s, %(at)s)
ON CONFLICT (activation_id, kind) DO NOTHING

-- name: insert_drift_ticket
INSERT INTO support.ticket (ticket_id, drift_id, vin, customer_id, service_code, kind, priority,
    error_code, error_message, package, first_contact_due, resolution_due, created_at, updated_at)
VALUES (%(ticket_id)s, %(drift_id)s, %(vin)s, %(customer_id)s, %(service_code)s, 'DRIFT',
    %(priority)s, %(error_code)s, %(error_message)s, %(package)s, %(first_contact_due)s,
    %(resolution_due)s, %(at)s, %(at)s)
ON CONFLICT (drift_id) WHERE kind = 'DRIFT' DO NOTHING

-- name: drift_ticket
SELECT ticket_id, number, state FROM support.ticket WHERE drift_id = %(drift_id)s FOR UPDATE

-- name: attempts_of_delivery
SELECT d.direction, a.attempt_number, a.started_at, a.ended_at, a.snapshot, a.command_id,
       a.response_code, a.response_message, a.result
FROM ota.attempt a JOIN ota.delivery d USING (delivery_id)
WHERE a.delivery_id = %(delivery_id)s ORDER BY a.attempt_number

-- name: ticket
SELECT ticket_id, number, state FROM support.ticket
WHERE activation_id = %(activation_id)s AND kind = %(kind)s FOR UPDATE

-- name: note_on_ticket
UPDATE support.ticket SET updated_at = %(at)s,
    package = jsonb_set(package, '{notes}', coalesce(package->'notes', '[]') || %(note)s)
WHERE activation_id = %(activation_id)s

-- name: move_ticket
UPDATE support.ticket SET state = %(to_state)s, updated_at = %(at)s
WHERE ticket_id = %(ticket_id)s AND state = ANY(%(from_states)s)

-- name: count_in_flight
SELECT count(*) FROM ota.delivery WHERE state IN ('CHECKING', 'COMMANDED', 'QUERYING', 'DEFERRED')
