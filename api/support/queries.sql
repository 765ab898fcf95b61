-- name: tickets
SELECT ticket_id, number, activation_id, vin, customer_id, service_code, payment_id, kind,
       priority, state, error_code, error_message, first_contact_due, resolution_due, created_at,
       updated_at, drift_id
FROM support.ticket_v1
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(vin)s::text IS NULL OR vin = %(vin)s)
ORDER BY (priority = 'HIGH') DESC, created_at DESC LIMIT %(limit)s;

-- name: ticket
SELECT ticket_id, number, activation_id, vin, customer_id, service_code, payment_id, kind,
       priority, state, error_code, error_message, package, first_contact_due, resolution_due,
       created_at, updated_at, drift_id
FROM support.ticket_v1
WHERE ticket_id::text = lower(%(ticket)s) OR number = upper(%(ticket)s);

-- name: open_ticket
SELECT number FROM support.ticket_v1
WHERE activation_id = %(activation_id)s AND kind = 'ACTIVATION' AND state IN ('OPEN', 'IN_PROGRESS');

-- name: activation_state
SELECT state FROM ota.activation_v1 WHERE activation_id = %(activation_id)s;

-- name: timeline
SELECT * FROM (
    SELECT h.at, 'activation' AS kind, h.to_state AS what,
           jsonb_build_object('activation_id', h.activation_id, 'service', a.service_code,
                              'from', h.from_state, 'event', h.event, 'cause', h.cause,
                              'actor', h.actor) AS detail
    FROM ota.activation_history_v1 h JOIN ota.activation_v1 a USING (activation_id)
    WHERE a.vin = %(vin)s
    UNION ALL
    SELECT t.started_at, 'attempt', coalesce(t.result, 'RUNNING'),
           jsonb_build_object('activation_id', t.activation_id, 'direction', t.direction,
                              'number', t.attempt_number, 'ended_at', t.ended_at,
                              'response_code', t.response_code,
                              'response_message', t.response_message)
    FROM ota.attempt_v1 t JOIN ota.activation_v1 a USING (activation_id)
    WHERE a.vin = %(vin)s
    UNION ALL
    SELECT c.admitted_at, 'command', c.kind,
           jsonb_build_object('command_id', c.command_id, 'seq', c.seq, 'source', c.source,
                              'service', c.service, 'result', c.last_result,
                              'reason', c.last_reason, 'answered_at', c.answered_at)
    FROM gateway.command_log_v1 c WHERE c.vin = %(vin)s
    UNION ALL
    SELECT d.opened_at, 'drift', d.cause,
           jsonb_build_object('drift_id', d.drift_id, 'state', d.state, 'difference', d.difference,
                              'reason', d.reason, 'ticket', d.ticket_number,
                              'closed_at', d.closed_at, 'ended', d.ended)
    FROM gateway.drift_v1 d WHERE d.vin = %(vin)s
) AS all_of_it
WHERE at >= %(since)s
ORDER BY at DESC LIMIT %(limit)s;

-- name: has_telemetry
SELECT to_regclass('telemetry.event_v1') IS NOT NULL;

-- name: telemetry_events
SELECT e.at, 'event' AS kind, e.type AS what,
       jsonb_build_object('code', e.code, 'detail', e.detail) AS detail
FROM telemetry.event_v1 e
WHERE e.vin = %(vin)s AND e.at >= %(since)s
ORDER BY e.at DESC LIMIT %(limit)s;

-- name: configuration
SELECT v.vin, v.model, v.firmware, w.version, w.changed_at, w.cause, w.wanted_values,
       v.reported_values, v.reported_at, v.reported_seq
FROM gateway.vehicle_v1 v LEFT JOIN gateway.wanted_v1 w USING (vin)
WHERE v.vin = %(vin)s;

-- name: drifts
SELECT drift_id, opened_at, cause, state, difference, rounds, reason, ticket_number, closed_at, ended
FROM gateway.drift_v1 WHERE vin = %(vin)s
ORDER BY opened_at DESC LIMIT %(limit)s;

-- name: connection
SELECT vin, presence, presence_since AS since, presence_reason AS reason, flaps, last_flap_at,
       coalesce(unstable_until > %(now)s, false) AS unstable
FROM gateway.connection_v1 WHERE vin = %(vin)s;

-- name: connectivity
SELECT at, until, from_presence, to_presence, reason, flaps
FROM gateway.connectivity_v1 WHERE vin = %(vin)s AND at >= %(since)s
ORDER BY id DESC LIMIT %(limit)s;
