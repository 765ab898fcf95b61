-- Samples, latest state, logs, quarantine and receipts (DOMAIN 8, BUS). Owner: telemetry.
-- On TimescaleDB the samples are a hypertable; elsewhere a table partitioned by day. The views are
-- the same.

-- A VIN as a number: a third of the index, and a quarter faster to write.
CREATE TABLE telemetry.vehicle (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL UNIQUE
);

DO $$
DECLARE
    columns constant text := '
        vehicle_id integer NOT NULL,
        t timestamptz NOT NULL,
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
        extra jsonb,
        PRIMARY KEY (vehicle_id, t)';
    home text;
BEGIN
    -- Available is not enough: it must be loaded by the server, else CREATE EXTENSION ends the
    -- connection.
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'
    THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;
    END IF;
    SELECT n.nspname INTO home
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb';
    IF home IS NULL THEN
        EXECUTE format('CREATE TABLE telemetry.sample (%s) PARTITION BY RANGE (t)', columns);
    ELSE
        EXECUTE format('CREATE TABLE telemetry.sample (%s)', columns);
        EXECUTE format(
            'SELECT %I.create_hypertable(''telemetry.sample'', ''t'','
            ' chunk_time_interval => interval ''1 day'', create_default_indexes => false)', home);
    END IF;
END $$;

-- How the samples are kept: said at the start of the service.
CREATE FUNCTION telemetry.storage_v1() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE relkind WHEN 'p' THEN 'partitions' ELSE 'timescaledb' END
    FROM pg_class WHERE oid = 'telemetry.sample'::regclass
$$;

-- The partition of one UTC day; true where it had to be made. There is no default partition: one
-- would take the rows of a missing day and then stand in the way of its partition. Made apart and
-- attached, because CREATE TABLE … PARTITION OF would lock out every reader and writer.
CREATE FUNCTION telemetry.ensure_partition_v1(p_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    v_name constant text := 'sample_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    IF telemetry.storage_v1() <> 'partitions' OR to_regclass('telemetry.' || v_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('telemetry.ensure_partition_v1'));
    IF to_regclass('telemetry.' || v_name) IS NOT NULL THEN
        RETURN false;  -- another replica was faster
    END IF;
    EXECUTE format('CREATE TABLE telemetry.%I (LIKE telemetry.sample INCLUDING ALL)', v_name);
    EXECUTE format(
        'ALTER TABLE telemetry.sample ATTACH PARTITION telemetry.%I FOR VALUES FROM (%L) TO (%L)',
        v_name, p_day::timestamptz, (p_day + 1)::timestamptz);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION telemetry.ensure_partition_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION telemetry.ensure_partition_v1 TO caas_telemetry;

-- The latest of each kind, one row a vehicle: four narrow tables, so that a sample a second does
-- not rewrite a status or a configuration with it.
CREATE TABLE telemetry.latest_sample (
    vehicle_id integer PRIMARY KEY REFERENCES telemetry.vehicle (id),
    t timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
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
) WITH (fillfactor = 70);
CREATE TABLE telemetry.latest_status (
    vehicle_id integer PRIMARY KEY REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    operational text NOT NULL,
    firmware text NOT NULL,
    signal_pct double precision NOT NULL,
    status jsonb NOT NULL
);
CREATE TABLE telemetry.latest_config (
    vehicle_id integer PRIMARY KEY REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    firmware text NOT NULL,
    digest text NOT NULL,
    reported jsonb NOT NULL
);
CREATE TABLE telemetry.latest_presence (
    vehicle_id integer PRIMARY KEY REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    state text NOT NULL,
    session text NOT NULL,
    boot bigint NOT NULL
);

-- What came in, once each; a message that arrives again changes nothing.
CREATE TABLE telemetry.status_log (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    operational text NOT NULL,
    firmware text NOT NULL,
    signal_pct double precision NOT NULL,
    status jsonb NOT NULL,
    PRIMARY KEY (vehicle_id, at)
);
CREATE TABLE telemetry.config_log (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    firmware text NOT NULL,
    digest text NOT NULL,
    reported jsonb NOT NULL,
    PRIMARY KEY (vehicle_id, at, seq, digest)
);
CREATE TABLE telemetry.presence_log (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,                  -- a last will carries the time its connection began
    received_at timestamptz NOT NULL,
    state text NOT NULL,
    session text NOT NULL,
    boot bigint NOT NULL,
    PRIMARY KEY (vehicle_id, session, state, at)
);
CREATE INDEX presence_log_received ON telemetry.presence_log (vehicle_id, received_at);
CREATE TABLE telemetry.answer_log (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    command_id uuid,
    seq bigint,
    result text NOT NULL,
    reason text,
    detail text,
    UNIQUE NULLS NOT DISTINCT (vehicle_id, at, command_id, seq, result)
);
CREATE TABLE telemetry.event (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    event_id uuid NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    type text NOT NULL,
    code text,
    detail text,
    -- Not event_id alone: a vehicle that reuses another's must not make its event vanish.
    PRIMARY KEY (vehicle_id, event_id)
);
CREATE INDEX event_at ON telemetry.event (vehicle_id, at);

CREATE TABLE telemetry.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    topic text NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL
);
CREATE INDEX quarantine_reason ON telemetry.quarantine (reason, received_at);

-- Which telemetry messages of a boot are committed: what `stored` tells the vehicle.
CREATE TABLE telemetry.receipt (
    vehicle_id integer NOT NULL REFERENCES telemetry.vehicle (id),
    boot bigint NOT NULL,
    received int8multirange NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (vehicle_id, boot)
) WITH (fillfactor = 70);

-- The first p_most ranges. What is forgotten beyond them gets no receipt, comes again and is stored
-- once all the same; a vehicle that numbers at random cannot make its row grow without end.
CREATE FUNCTION telemetry.first_ranges(p_all int8multirange, p_most integer) RETURNS int8multirange
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT range_agg(r) FROM (SELECT r FROM unnest(p_all) AS r ORDER BY r LIMIT p_most) AS kept
$$;

CREATE VIEW telemetry.sample_v1 AS
    SELECT v.vin, s.t, s.speed_kmh, s.soc_pct, s.odometer_km, s.lat, s.lon, s.heading_deg,
           s.battery_v, s.battery_temp_c, s.motor_temp_c, s.ambient_c, s.power_kw, s.state, s.extra
    FROM telemetry.sample s JOIN telemetry.vehicle v ON v.id = s.vehicle_id;
CREATE VIEW telemetry.latest_v1 AS
    SELECT v.vin, s.t, s.speed_kmh, s.soc_pct, s.odometer_km, s.lat, s.lon, s.heading_deg,
           s.battery_v, s.battery_temp_c, s.motor_temp_c, s.ambient_c, s.power_kw, s.state, s.extra,
           s.received_at,
           st.at AS status_at, st.operational, st.signal_pct, st.status,
           p.state AS presence, p.session, p.at AS presence_at,
           p.received_at AS presence_received_at,
           c.at AS reported_at, c.seq AS reported_seq, c.digest AS reported_digest, c.reported,
           coalesce(c.firmware, st.firmware) AS firmware
    FROM telemetry.vehicle v
    LEFT JOIN telemetry.latest_sample s ON s.vehicle_id = v.id
    LEFT JOIN telemetry.latest_status st ON st.vehicle_id = v.id
    LEFT JOIN telemetry.latest_presence p ON p.vehicle_id = v.id
    LEFT JOIN telemetry.latest_config c ON c.vehicle_id = v.id;
CREATE VIEW telemetry.event_v1 AS
    SELECT v.vin, e.event_id, e.at, e.type, e.code, e.detail, e.received_at
    FROM telemetry.event e JOIN telemetry.vehicle v ON v.id = e.vehicle_id;
CREATE VIEW telemetry.connectivity_v1 AS
    SELECT v.vin, p.at, p.state, p.session, p.boot, p.received_at
    FROM telemetry.presence_log p JOIN telemetry.vehicle v ON v.id = p.vehicle_id;
CREATE VIEW telemetry.status_v1 AS
    SELECT v.vin, s.at, s.operational, s.firmware, s.signal_pct, s.status, s.received_at
    FROM telemetry.status_log s JOIN telemetry.vehicle v ON v.id = s.vehicle_id;
CREATE VIEW telemetry.config_v1 AS
    SELECT v.vin, c.at, c.seq, c.firmware, c.digest, c.reported, c.received_at
    FROM telemetry.config_log c JOIN telemetry.vehicle v ON v.id = c.vehicle_id;
CREATE VIEW telemetry.answer_v1 AS
    SELECT v.vin, a.at, a.command_id, a.seq, a.result, a.reason, a.detail, a.received_at
    FROM telemetry.answer_log a JOIN telemetry.vehicle v ON v.id = a.vehicle_id;
CREATE VIEW telemetry.quarantine_v1 AS
    SELECT id, received_at, topic, payload, reason, detail FROM telemetry.quarantine;
GRANT SELECT ON telemetry.sample_v1, telemetry.latest_v1, telemetry.event_v1,
    telemetry.connectivity_v1, telemetry.status_v1, telemetry.config_v1, telemetry.answer_v1,
    telemetry.quarantine_v1
    TO caas_api, caas_ota, caas_gateway;
