-- Vehicles behind foreign IoT APIs. Batches lock their vehicles in the order of the VIN.

-- name: foreign_vins
SELECT vin FROM gateway.vehicle
WHERE vin = ANY(%(vins)s) AND transport = 'iot_api' AND status = 'ENROLLED'

-- name: all_foreign
SELECT v.vin, f.api, (f.vin IS NOT NULL) AS known
FROM gateway.vehicle v LEFT JOIN gateway.foreign_vehicle f USING (vin)
WHERE v.transport = 'iot_api' AND v.status = 'ENROLLED'

-- name: new_foreign
SELECT v.vin, NULL AS api, false AS known FROM gateway.vehicle v
WHERE v.transport = 'iot_api' AND v.status = 'ENROLLED'
  AND NOT EXISTS (SELECT FROM gateway.foreign_vehicle f WHERE f.vin = v.vin)

-- name: count_unassigned
SELECT count(*) FROM gateway.foreign_vehicle f JOIN gateway.vehicle v USING (vin)
WHERE f.api IS NULL AND v.transport = 'iot_api' AND v.status = 'ENROLLED'

-- name: adopt
INSERT INTO gateway.foreign_vehicle (vin, api, poll_at, due_at, events_at, events_from)
SELECT vin, api, %(now)s, %(now)s, %(now)s, %(now)s
FROM unnest(%(vins)s::text[], %(apis)s::text[]) AS new (vin, api)
ORDER BY vin
ON CONFLICT (vin) DO UPDATE SET api = excluded.api, due_at = excluded.due_at
WHERE gateway.foreign_vehicle.api IS DISTINCT FROM excluded.api

-- name: lock
SELECT vin, api, highest_seq FROM gateway.foreign_vehicle
WHERE vin = ANY(%(vins)s) ORDER BY vin FOR UPDATE

-- name: known_commands
SELECT vin, command_id, state, answer FROM gateway.foreign_command
WHERE (vin, command_id) IN (SELECT * FROM unnest(%(vins)s::text[], %(ids)s::uuid[]))

-- name: insert_command
INSERT INTO gateway.foreign_command (vin, command_id, seq, kind, body, state, received_at,
    expires_at, due_at, answer)
VALUES (%(vin)s, %(command_id)s, %(seq)s, %(kind)s, %(body)s, %(state)s, %(now)s, %(expires_at)s,
    %(now)s, %(answer)s)

-- name: intake_done
UPDATE gateway.foreign_vehicle SET highest_seq = greatest(highest_seq, %(highest_seq)s),
    due_at = %(now)s
WHERE vin = %(vin)s

-- name: say
INSERT INTO gateway.foreign_message (vin, topic, payload, made_at)
VALUES (%(vin)s, %(topic)s, %(payload)s, %(now)s)

-- name: claim
WITH due AS (
    SELECT f.vin, f.due_at FROM gateway.foreign_vehicle f JOIN gateway.vehicle v USING (vin)
    WHERE f.api IS NOT DISTINCT FROM %(api)s AND f.due_at <= %(now)s
      AND (f.leased_until IS NULL OR f.leased_until <= %(now)s)
      AND v.transport = 'iot_api' AND v.status = 'ENROLLED'
    ORDER BY f.due_at LIMIT %(most)s
    FOR UPDATE OF f SKIP LOCKED
)
UPDATE gateway.foreign_vehicle f SET leased_until = %(until)s, leased_by = %(slot)s
FROM due WHERE f.vin = due.vin
RETURNING f.vin, due.due_at

-- A replica that starts has nothing in hand: what its slot left is free at once.
-- name: free_slot
UPDATE gateway.foreign_vehicle SET leased_until = NULL
WHERE leased_by = %(slot)s AND leased_until IS NOT NULL

-- The vehicle may have been on our bus before: a session of ours counts on from its own (BUS,
-- Presence).
-- name: vehicle
SELECT f.vin, v.model, v.firmware, f.applied_seq, f.values, f.values_at, f.config_digest,
    f.online AND coalesce(s.boot, 0) <= f.boot AS online,
    f.session, greatest(f.boot, s.boot) AS boot, f.status, f.status_at, f.quiet_until, f.poll_at,
    f.events_at, f.events_from, f.events_said, f.look_tries
FROM gateway.foreign_vehicle f
JOIN gateway.vehicle v USING (vin)
JOIN gateway.vehicle_state s USING (vin)
WHERE f.vin = %(vin)s

-- name: next_command
SELECT command_id, seq, kind, body, state, foreign_id, error_code, tries, expires_at, ended_at
FROM gateway.foreign_open_commands(%(now)s)
WHERE vin = %(vin)s AND due_at <= %(now)s
ORDER BY due_at, seq LIMIT 1

-- What commands after this one have set: an earlier one's late success does not undo it.
-- name: set_since
SELECT body->'values' AS settings FROM gateway.foreign_command
WHERE vin = %(vin)s AND seq > %(seq)s AND kind = 'CONFIGURE' AND answer->>'result' = 'APPLIED'

-- name: command_again
UPDATE gateway.foreign_command SET due_at = %(at)s, tries = tries + 1
WHERE vin = %(vin)s AND command_id = %(command_id)s AND state = %(state)s

-- name: command_taken
UPDATE gateway.foreign_command SET state = 'SENT', foreign_id = %(foreign_id)s, tries = 0,
    due_at = %(at)s, answer = %(answer)s
WHERE vin = %(vin)s AND command_id = %(command_id)s AND state = 'RECEIVED'

-- name: command_completed
UPDATE gateway.foreign_command SET state = 'COMPLETED', tries = 0, due_at = %(at)s,
    ended_at = %(at)s
WHERE vin = %(vin)s AND command_id = %(command_id)s AND state IN ('RECEIVED', 'SENT')

-- name: command_done
UPDATE gateway.foreign_command SET state = 'DONE', answer = %(answer)s
WHERE vin = %(vin)s AND command_id = %(command_id)s AND state <> 'DONE'

-- name: save_vehicle
UPDATE gateway.foreign_vehicle SET applied_seq = greatest(applied_seq, %(applied_seq)s),
    values = %(values)s, values_at = %(values_at)s, config_digest = %(config_digest)s,
    online = %(online)s, session = %(session)s, boot = %(boot)s, status = %(status)s,
    status_at = %(status_at)s, quiet_until = %(quiet_until)s, poll_at = %(poll_at)s,
    look_tries = 0
WHERE vin = %(vin)s AND leased_by = %(slot)s

-- name: poll_later
UPDATE gateway.foreign_vehicle SET poll_at = %(poll_at)s, look_tries = 0 WHERE vin = %(vin)s

-- name: look_failed
UPDATE gateway.foreign_vehicle SET poll_at = %(poll_at)s, look_tries = look_tries + 1
WHERE vin = %(vin)s

-- name: events_said
UPDATE gateway.foreign_vehicle
SET events_at = greatest(events_at, %(at)s), events_said = %(said)s
WHERE vin = %(vin)s

-- The next status is said whether it differs from the last or not. Looks go on meanwhile: what else
-- there is to see is said.
-- name: keep_quiet
UPDATE gateway.foreign_vehicle SET quiet_until = %(quiet_until)s, poll_at = %(now)s, status = NULL
WHERE vin = %(vin)s

-- Two statements: what came in while the first one waited for the lock is seen by the second.
-- name: lock_one
SELECT vin FROM gateway.foreign_vehicle WHERE vin = %(vin)s FOR UPDATE

-- name: release
UPDATE gateway.foreign_vehicle f SET leased_until = NULL, due_at = least(
    CASE WHEN f.api IS NULL THEN 'infinity' ELSE f.poll_at END,
    (SELECT min(c.due_at) FROM gateway.foreign_open_commands(%(now)s) c WHERE c.vin = f.vin),
    (SELECT %(now)s + make_interval(
        secs => least(%(retry_s)s * 2.0 ^ least(f.unsaid_tries, 16), %(retry_max_s)s))
     WHERE EXISTS (SELECT FROM gateway.foreign_message m WHERE m.vin = f.vin)))
WHERE f.vin = %(vin)s AND f.leased_by = %(slot)s

-- name: messages
SELECT message_id, topic, payload FROM gateway.foreign_message
WHERE vin = %(vin)s ORDER BY message_id LIMIT 100

-- name: said
DELETE FROM gateway.foreign_message WHERE message_id = ANY(%(ids)s)

-- name: said_again
UPDATE gateway.foreign_vehicle SET unsaid_tries = 0 WHERE vin = %(vin)s AND unsaid_tries <> 0

-- name: refused
UPDATE gateway.foreign_vehicle SET unsaid_tries = unsaid_tries + 1 WHERE vin = %(vin)s

-- name: count_unsaid
SELECT count(*) FROM gateway.foreign_message

-- name: capabilities
SELECT module, parameter, allowed FROM config.capability_v1
WHERE model = %(model)s AND firmware_version = %(firmware)s

-- name: mappings
SELECT settings FROM config.mapping_v1 WHERE platform = %(model)s

-- name: take_callback
INSERT INTO gateway.foreign_inbox (source, message_id, body, received_at)
VALUES (%(source)s, %(message_id)s, %(body)s, %(now)s)
ON CONFLICT DO NOTHING

-- A command that was given up as too late can still come true: then it is told (DOMAIN 7, late
-- success). One whose end was told otherwise stays as it was told.
-- name: outcome_by_callback
UPDATE gateway.foreign_command SET state = %(state)s, error_code = %(error_code)s, tries = 0,
    due_at = %(now)s, ended_at = %(now)s
WHERE vin = %(vin)s AND command_id = %(command_id)s
  AND (foreign_id IS NULL OR foreign_id = %(foreign_id)s)
  AND (state IN ('RECEIVED', 'SENT')
       OR (%(state)s = 'COMPLETED' AND state = 'DONE' AND answer->>'reason' = 'EXPIRED'))

-- name: wake
UPDATE gateway.foreign_vehicle SET due_at = %(now)s WHERE vin = %(vin)s

-- name: forget_commands
DELETE FROM gateway.foreign_command WHERE state = 'DONE' AND received_at < %(before)s

-- name: forget_callbacks
DELETE FROM gateway.foreign_inbox WHERE received_at < %(before)s
