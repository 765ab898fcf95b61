-- The wanted configuration and what drifts from it.

-- name: standing
-- All there is to judge a report by. The reported columns are still those of the report before.
SELECT coalesce(w.version, 0) AS version, coalesce(w.wanted_values, '[]') AS wanted_values, v.model, s.reported_values, s.reported_seq, s.reported_at,
    v.firmware,
    l.seq AS last_seq, l.last_result, l.answered_at,
    (l.content->>'expires_at')::timestamptz AS expires_at,
    (SELECT count(*) FROM gateway.drift o
     WHERE o.vin = v.vin AND o.opened_at > %(day_ago)s AND o.closed_at IS NOT NULL
       AND o.cause NOT IN ('MODEL_MISMATCH', 'NOT_MANAGED')) AS today
FROM gateway.vehicle v
JOIN gateway.vehicle_state s USING (vin)
LEFT JOIN gateway.wanted w USING (vin)
LEFT JOIN LATERAL (
    SELECT c.seq, c.last_result, c.answered_at, c.content FROM gateway.command_log_v1 c
    WHERE c.vin = v.vin AND c.kind = 'CONFIGURE' ORDER BY c.seq DESC LIMIT 1) l ON true
WHERE v.vin = %(vin)s

-- name: held
-- Parameters that a delivery, or a command of the IoT API, has in hand.
SELECT p.item->>'module' AS module, p.item->>'parameter' AS parameter
FROM (
    SELECT d.wanted AS settings FROM ota.open_delivery_v1 d
    WHERE d.vin = %(vin)s AND d.direction <> 'CORRECTION'
    UNION ALL
    SELECT c.body->'values' FROM gateway.command c
    WHERE c.vin = %(vin)s AND c.kind = 'CONFIGURE' AND c.state IN ('QUEUED', 'IN_PROGRESS')
) AS under_way, jsonb_array_elements(under_way.settings) AS p (item)

-- name: open_drift
SELECT d.drift_id, d.opened_at, d.state, d.cause, d.wanted_version, d.difference, d.firmware,
    d.rounds, d.reason, d.asked_at, d.failed_at,
    EXISTS (SELECT FROM ota.open_delivery_v1 o WHERE o.drift_id = d.drift_id) AS delivering
FROM gateway.drift d WHERE d.vin = %(vin)s AND d.closed_at IS NULL
FOR UPDATE OF d

-- name: open
INSERT INTO gateway.drift (drift_id, vin, opened_at, cause, state, wanted_version, difference,
    firmware, report_seq, report_at, reason, asked_at)
VALUES (%(drift_id)s, %(vin)s, %(now)s, %(cause)s, %(state)s, %(version)s, %(difference)s,
    %(firmware)s, %(report_seq)s, %(report_at)s, %(reason)s, %(now)s)
ON CONFLICT (vin) WHERE closed_at IS NULL DO NOTHING

-- name: ask_again
UPDATE gateway.drift SET state = 'CORRECTING', wanted_version = %(version)s,
    difference = %(difference)s, firmware = %(firmware)s, report_seq = %(report_seq)s,
    report_at = %(report_at)s, rounds = rounds + %(more)s, reason = NULL, failed_at = NULL,
    asked_at = %(now)s, cause = CASE WHEN cause = 'MODEL_MISMATCH' THEN %(cause)s ELSE cause END
WHERE drift_id = %(drift_id)s AND closed_at IS NULL

-- name: update
UPDATE gateway.drift SET wanted_version = %(version)s, difference = %(difference)s,
    firmware = %(firmware)s, report_seq = %(report_seq)s, report_at = %(report_at)s
WHERE drift_id = %(drift_id)s AND closed_at IS NULL

-- name: note
-- A change that nothing is to be done about: over as it begins. At most so many a day.
INSERT INTO gateway.drift (drift_id, vin, opened_at, cause, state, wanted_version, difference,
    firmware, report_seq, report_at, closed_at, ended)
SELECT %(drift_id)s, %(vin)s, %(now)s, 'NOT_MANAGED', 'CLOSED', %(version)s, %(difference)s,
    %(firmware)s, %(report_seq)s, %(report_at)s, %(now)s, 'NOTED'
WHERE (SELECT count(*) FROM gateway.drift o WHERE o.vin = %(vin)s AND o.opened_at > %(day_ago)s
         AND o.cause = 'NOT_MANAGED') < %(a_day)s

-- name: switched
-- Every parameter that a service of the platform switches.
SELECT DISTINCT s.setting->>'module' AS module, s.setting->>'parameter' AS parameter
FROM config.mapping_v1 m, jsonb_array_elements(m.settings) AS s (setting)
WHERE m.platform = %(model)s

-- name: raise_alarm
UPDATE gateway.drift SET state = 'ALARM', cause = %(cause)s, reason = %(reason)s
WHERE drift_id = %(drift_id)s AND closed_at IS NULL

-- name: commanded_since
-- A command of ours since the drift opened that the report counts as applied.
SELECT EXISTS (SELECT FROM gateway.command_log
    WHERE vin = %(vin)s AND kind = 'CONFIGURE' AND admitted_at >= %(opened_at)s
      AND seq <= %(seq)s)

-- name: close
UPDATE gateway.drift SET state = 'CLOSED', closed_at = %(now)s, ended = %(ended)s
WHERE drift_id = %(drift_id)s AND closed_at IS NULL

-- name: in_step
UPDATE gateway.vehicle_state SET in_step_digest = %(digest)s, in_step_version = %(version)s,
    in_step_until = %(until)s
WHERE vin = %(vin)s

-- name: want
SELECT outcome, version, refused
FROM gateway.want_v1(%(vin)s, %(values)s, %(cause)s, %(now)s)

-- name: applied_commands
SELECT vin, source, body FROM gateway.command
WHERE command_id = ANY(%(ids)s) AND kind = 'CONFIGURE'
ORDER BY seq

-- name: to_look_at
-- Open drifts that no report need come for: found with another wanted version than that of now, or
-- nobody corrects them although the engine was asked. A page after the one that ended in ``after``.
SELECT d.vin FROM gateway.drift d JOIN gateway.wanted w USING (vin)
WHERE d.closed_at IS NULL AND d.state <> 'ALARM' AND d.vin > %(after)s
  AND (w.version <> d.wanted_version
       OR d.state = 'CORRECTING' AND d.asked_at <= %(asked_before)s
          AND NOT EXISTS (SELECT FROM ota.open_delivery_v1 o WHERE o.drift_id = d.drift_id))
ORDER BY d.vin LIMIT %(batch)s

-- name: prune
DELETE FROM gateway.drift WHERE drift_id IN (
    SELECT drift_id FROM gateway.drift WHERE closed_at < %(before)s
    ORDER BY closed_at LIMIT 5000 FOR UPDATE SKIP LOCKED)

-- name: lock_state
SELECT 1 FROM gateway.vehicle_state WHERE vin = %(vin)s FOR UPDATE

-- name: count_drifting
SELECT state, count(*) AS vehicles FROM gateway.drift WHERE closed_at IS NULL GROUP BY state

-- name: configuration
SELECT v.vin, v.model, v.firmware, w.version, w.wanted_values, w.changed_at, w.cause, s.reported_values, s.reported_digest, s.reported_seq, s.reported_at
FROM gateway.vehicle v JOIN gateway.vehicle_state s USING (vin)
LEFT JOIN gateway.wanted_v1 w USING (vin)
WHERE v.vin = %(vin)s

-- name: drift_shown
SELECT drift_id, opened_at, cause, state, rounds, reason, ticket_number FROM gateway.drift_v1
WHERE vin = %(vin)s AND closed_at IS NULL
