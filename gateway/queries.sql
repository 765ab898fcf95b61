-- Vehicles' state. Batches lock their vehicles in the order of the VIN.

-- name: states
SELECT s.vin, v.model, v.firmware, s.presence, s.presence_since, s.session, s.session_ended, s.boot,
    s.presence_at, s.last_seen_at, s.operational, s.signal_pct, s.status_at, s.reported_digest,
    s.reported_seq, s.reported_at, s.in_step_digest, s.in_step_version, s.in_step_until,
    w.version AS wanted_version, s.presence_reason, s.other_session, s.other_at, s.other_boot,
    s.past_sessions
FROM gateway.vehicle_state s JOIN gateway.vehicle v USING (vin)
LEFT JOIN gateway.wanted w USING (vin)
WHERE s.vin = ANY(%(vins)s)
ORDER BY s.vin
FOR UPDATE OF s

-- name: save_state
UPDATE gateway.vehicle_state SET
    presence = %(presence)s, presence_since = %(presence_since)s,
    presence_reason = %(presence_reason)s, other_session = %(other_session)s,
    other_at = %(other_at)s, other_boot = %(other_boot)s, past_sessions = %(past_sessions)s, session = %(session)s,
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
