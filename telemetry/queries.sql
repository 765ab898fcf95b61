-- Statements of the ingestor. Each batch runs them in the order of this file, rows sorted by
-- vehicle, so that replicas that work on the same vehicles cannot deadlock.

-- name: storage
SELECT telemetry.storage_v1()

-- name: ensure_partition
SELECT telemetry.ensure_partition_v1(%(day)s)

-- name: adopt_vehicles
INSERT INTO telemetry.vehicle (vin)
SELECT g.vin FROM gateway.vehicle_v1 g
WHERE g.vin = ANY(%(vins)s)
  AND NOT EXISTS (SELECT FROM telemetry.vehicle v WHERE v.vin = g.vin)
ORDER BY g.vin
ON CONFLICT (vin) DO NOTHING

-- name: find_vehicles
SELECT id, vin FROM telemetry.vehicle WHERE vin = ANY(%(vins)s)

-- name: make_stage
CREATE TEMPORARY TABLE IF NOT EXISTS sample_stage (
    vehicle_id integer NOT NULL,
    t_ms bigint NOT NULL,
    speed_kmh double precision,
    soc_pct double precision,
    odometer_km double precision,
    lat double precision,
    lon double precision,
    heading_deg double precision,
    battery_v double precision,
    battery_temp_c double precision,
    motor_temp_c double precision,
    ambient_c double precision,
    power_kw double precision,
    state text,
    extra jsonb
) ON COMMIT DELETE ROWS

-- name: copy_samples
COPY pg_temp.sample_stage FROM STDIN (FORMAT binary)

-- name: insert_samples
INSERT INTO telemetry.sample (vehicle_id, t, speed_kmh, soc_pct, odometer_km, lat, lon,
    heading_deg, battery_v, battery_temp_c, motor_temp_c, ambient_c, power_kw, state, extra)
SELECT vehicle_id, 'epoch'::timestamptz + t_ms * interval '1 millisecond', speed_kmh, soc_pct,
    odometer_km, lat, lon, heading_deg, battery_v, battery_temp_c, motor_temp_c, ambient_c,
    power_kw, state, extra
FROM pg_temp.sample_stage
ORDER BY vehicle_id, t_ms
ON CONFLICT (vehicle_id, t) DO NOTHING

-- name: insert_answer
INSERT INTO telemetry.answer_log
    (vehicle_id, at, received_at, command_id, seq, result, reason, detail)
VALUES (%(vehicle_id)s, %(at)s, %(received_at)s, %(command_id)s, %(seq)s, %(result)s, %(reason)s,
    %(detail)s)
ON CONFLICT DO NOTHING

-- name: insert_event
INSERT INTO telemetry.event (vehicle_id, event_id, at, received_at, type, code, detail)
VALUES (%(vehicle_id)s, %(event_id)s, %(at)s, %(received_at)s, %(type)s, %(code)s, %(detail)s)
ON CONFLICT DO NOTHING

-- name: insert_status
WITH logged AS (
    INSERT INTO telemetry.status_log
        (vehicle_id, at, received_at, operational, firmware, signal_pct, status)
    VALUES (%(vehicle_id)s, %(at)s, %(received_at)s, %(operational)s, %(firmware)s, %(signal_pct)s,
        %(status)s)
    ON CONFLICT DO NOTHING
    RETURNING vehicle_id, at, received_at, operational, firmware, signal_pct, status
)
INSERT INTO telemetry.latest_status AS latest
    (vehicle_id, at, received_at, operational, firmware, signal_pct, status)
SELECT vehicle_id, at, received_at, operational, firmware, signal_pct, status FROM logged
ON CONFLICT (vehicle_id) DO UPDATE SET
    at = excluded.at, received_at = excluded.received_at, operational = excluded.operational,
    firmware = excluded.firmware, signal_pct = excluded.signal_pct, status = excluded.status
WHERE excluded.at >= latest.at

-- name: insert_config
WITH logged AS (
    INSERT INTO telemetry.config_log
        (vehicle_id, at, received_at, seq, firmware, digest, reported)
    VALUES (%(vehicle_id)s, %(at)s, %(received_at)s, %(seq)s, %(firmware)s, %(digest)s,
        %(reported)s)
    ON CONFLICT DO NOTHING
    RETURNING vehicle_id, at, received_at, seq, firmware, digest, reported
)
INSERT INTO telemetry.latest_config AS latest
    (vehicle_id, at, received_at, seq, firmware, digest, reported)
SELECT vehicle_id, at, received_at, seq, firmware, digest, reported FROM logged
ON CONFLICT (vehicle_id) DO UPDATE SET
    at = excluded.at, received_at = excluded.received_at, seq = excluded.seq,
    firmware = excluded.firmware, digest = excluded.digest, reported = excluded.reported
WHERE excluded.at >= latest.at OR excluded.seq > latest.seq

-- An OFFLINE ends only its own session, for good; another session counts when it is a later one
-- (BUS, Presence). A last will carries the time its connection began.
-- name: insert_presence
WITH logged AS (
    INSERT INTO telemetry.presence_log (vehicle_id, at, received_at, state, session, boot)
    VALUES (%(vehicle_id)s, %(at)s, %(received_at)s, %(state)s, %(session)s, %(boot)s)
    ON CONFLICT DO NOTHING
    RETURNING vehicle_id, at, received_at, state, session, boot
)
INSERT INTO telemetry.latest_presence AS latest (vehicle_id, at, received_at, state, session, boot)
SELECT vehicle_id, at, received_at, state, session, boot FROM logged
ON CONFLICT (vehicle_id) DO UPDATE SET
    at = excluded.at, received_at = excluded.received_at, state = excluded.state,
    session = excluded.session, boot = excluded.boot
WHERE CASE WHEN excluded.session = latest.session
    THEN excluded.state = 'OFFLINE' OR (latest.state <> 'OFFLINE' AND excluded.at >= latest.at)
    ELSE (excluded.boot, excluded.at) > (latest.boot, latest.at)
END

-- name: quarantine
INSERT INTO telemetry.quarantine (received_at, topic, payload, reason, detail)
VALUES (%(received_at)s, %(topic)s, %(payload)s, %(reason)s, %(detail)s)

-- name: add_receipts
INSERT INTO telemetry.receipt AS known (vehicle_id, boot, received, updated_at)
SELECT a.vehicle_id, a.boot, range_agg(int8range(a.n, a.n + 1)), max(a.received_at)
FROM unnest(%(vehicle_ids)s::integer[], %(boots)s::bigint[], %(ns)s::bigint[],
    %(received_at)s::timestamptz[]) AS a (vehicle_id, boot, n, received_at)
GROUP BY a.vehicle_id, a.boot
ORDER BY a.vehicle_id, a.boot
ON CONFLICT (vehicle_id, boot) DO UPDATE SET
    received = telemetry.first_ranges(known.received + excluded.received, 1000),
    updated_at = excluded.updated_at
RETURNING vehicle_id, boot, received

-- name: update_latest_samples
INSERT INTO telemetry.latest_sample AS latest (vehicle_id, t, received_at, speed_kmh, soc_pct,
    odometer_km, lat, lon, heading_deg, battery_v, battery_temp_c, motor_temp_c, ambient_c,
    power_kw, state, extra)
SELECT DISTINCT ON (vehicle_id) vehicle_id, 'epoch'::timestamptz + t_ms * interval '1 millisecond',
    %(received_at)s, speed_kmh, soc_pct, odometer_km, lat, lon, heading_deg, battery_v,
    battery_temp_c, motor_temp_c, ambient_c, power_kw, state, extra
FROM pg_temp.sample_stage
ORDER BY vehicle_id, t_ms DESC
ON CONFLICT (vehicle_id) DO UPDATE SET
    t = excluded.t, received_at = excluded.received_at, speed_kmh = excluded.speed_kmh,
    soc_pct = excluded.soc_pct, odometer_km = excluded.odometer_km, lat = excluded.lat,
    lon = excluded.lon, heading_deg = excluded.heading_deg, battery_v = excluded.battery_v,
    battery_temp_c = excluded.battery_temp_c, motor_temp_c = excluded.motor_temp_c,
    ambient_c = excluded.ambient_c, power_kw = excluded.power_kw, state = excluded.state,
    extra = excluded.extra
WHERE excluded.t > latest.t

-- name: forget_receipts
DELETE FROM telemetry.receipt WHERE updated_at < %(before)s

-- name: list_quarantine
SELECT id, received_at, topic, payload, reason, detail
FROM telemetry.quarantine_v1
WHERE %(reason)s::text IS NULL OR reason = %(reason)s
ORDER BY id DESC
LIMIT %(limit)s
