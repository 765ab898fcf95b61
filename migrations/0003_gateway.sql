-- Registry, presence, reported configuration, command log and quota (DOMAIN 7 to 9).
-- Owner: the gateway.

CREATE TABLE gateway.vehicle (
    vin text PRIMARY KEY CHECK (vin ~ '^[A-HJ-NPR-Z0-9]{17}$'),
    model text NOT NULL,
    firmware text NOT NULL,
    transport text NOT NULL DEFAULT 'mqtt' CHECK (transport IN ('mqtt', 'iot_api')),
    secret_hash text,                         -- as the broker's password file has it; null = none
    status text NOT NULL DEFAULT 'ENROLLED' CHECK (status IN ('ENROLLED', 'REVOKED')),
    last_seq bigint NOT NULL DEFAULT 0,       -- the highest command number given out
    enrolled_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The broker's password file follows who may sign in, within a second.
CREATE FUNCTION gateway.announce_credentials() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('gateway_credentials', '');
    RETURN NULL;
END $$;
CREATE TRIGGER announce_credentials
    AFTER INSERT OR DELETE OR UPDATE OF secret_hash, status ON gateway.vehicle
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.announce_credentials();

-- One row for each vehicle, made with it.
CREATE TABLE gateway.vehicle_state (
    vin text PRIMARY KEY REFERENCES gateway.vehicle (vin) ON DELETE CASCADE,
    presence text NOT NULL DEFAULT 'OFFLINE' CHECK (presence IN ('ONLINE', 'OFFLINE', 'LIMITED')),
    presence_since timestamptz,               -- our time of its last change
    session text,
    session_ended boolean NOT NULL DEFAULT false, -- by the vehicle or its last will, not by silence
    boot bigint,
    presence_at timestamptz,                  -- the vehicle's own time of its last presence
    last_seen_at timestamptz,                 -- our time of the last message of any kind
    operational text,
    signal_pct real,
    status jsonb,                             -- the last VehicleStatus
    status_at timestamptz,
    reported_values jsonb,                    -- [{module, parameter, value}], the last config
    reported_digest text,
    reported_seq bigint,
    reported_at timestamptz
);
CREATE FUNCTION gateway.add_vehicle_state() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO gateway.vehicle_state (vin) VALUES (NEW.vin);
    RETURN NULL;
END $$;
CREATE TRIGGER add_vehicle_state
    AFTER INSERT ON gateway.vehicle FOR EACH ROW EXECUTE FUNCTION gateway.add_vehicle_state();
CREATE INDEX vehicle_state_silent ON gateway.vehicle_state (last_seen_at)
    WHERE presence <> 'OFFLINE';

-- Every command that went to a vehicle, whichever door it came in by.
CREATE TABLE gateway.command_log (
    command_id uuid PRIMARY KEY,
    vin text NOT NULL REFERENCES gateway.vehicle (vin),
    seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONFIGURE', 'QUERY', 'TEST', 'DISPLAY')),
    source text NOT NULL,                     -- who asked: ota, iot_api, …
    service text,
    content jsonb NOT NULL,
    admitted_at timestamptz NOT NULL,
    last_result text,                         -- the vehicle's last answer
    last_reason text,
    answered_at timestamptz,
    UNIQUE (vin, seq)
);
CREATE INDEX command_log_quota ON gateway.command_log (vin, admitted_at) WHERE kind = 'CONFIGURE';

-- The one door every command passes: gives it its number, writes the log, keeps the quota.
-- Runs inside the caller's transaction; the lock on the vehicle's row makes it hold across doors
-- and replicas. The same command_id again gets its first answer. (DOMAIN 7, Quota.)
CREATE FUNCTION gateway.admit_command_v1(
    p_command_id uuid, p_vin text, p_kind text, p_source text, p_service text, p_content jsonb,
    p_now timestamptz, p_quota integer
) RETURNS TABLE (outcome text, seq bigint, retry_after_s integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    v_seq bigint;
    v_oldest timestamptz;
    v_count integer;
BEGIN
    PERFORM 1 FROM gateway.vehicle v WHERE v.vin = p_vin AND v.status = 'ENROLLED' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'UNKNOWN_VIN', NULL::bigint, NULL::integer;
        RETURN;
    END IF;
    SELECT l.seq INTO v_seq FROM gateway.command_log l WHERE l.command_id = p_command_id;
    IF FOUND THEN
        RETURN QUERY SELECT 'ADMITTED', v_seq, NULL::integer;
        RETURN;
    END IF;
    IF p_kind = 'CONFIGURE' THEN
        SELECT count(*), min(l.admitted_at) INTO v_count, v_oldest
        FROM gateway.command_log l
        WHERE l.vin = p_vin AND l.kind = 'CONFIGURE' AND l.admitted_at > p_now - interval '1 hour';
        IF v_count >= p_quota THEN
            RETURN QUERY SELECT 'RATE_LIMITED', NULL::bigint, greatest(
                1, ceil(extract(epoch FROM v_oldest + interval '1 hour' - p_now))::integer);
            RETURN;
        END IF;
    END IF;
    UPDATE gateway.vehicle v SET last_seq = v.last_seq + 1
    WHERE v.vin = p_vin RETURNING v.last_seq INTO v_seq;
    INSERT INTO gateway.command_log (command_id, vin, seq, kind, source, service, content, admitted_at)
    VALUES (p_command_id, p_vin, v_seq, p_kind, p_source, p_service, p_content, p_now);
    RETURN QUERY SELECT 'ADMITTED', v_seq, NULL::integer;
END $$;
REVOKE ALL ON FUNCTION gateway.admit_command_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.admit_command_v1 TO caas_gateway, caas_ota;

CREATE VIEW gateway.vehicle_v1 AS
    SELECT v.vin, v.model, v.firmware, v.transport, v.status AS enrolment, v.enrolled_at,
           coalesce(s.presence, 'OFFLINE') AS presence, s.session, s.presence_at, s.last_seen_at,
           s.operational, s.signal_pct, s.status, s.status_at,
           s.reported_values, s.reported_digest, s.reported_seq, s.reported_at
    FROM gateway.vehicle v LEFT JOIN gateway.vehicle_state s USING (vin);
CREATE VIEW gateway.command_log_v1 AS
    SELECT command_id, vin, seq, kind, source, service, content, admitted_at,
           last_result, last_reason, answered_at
    FROM gateway.command_log;
GRANT SELECT ON gateway.vehicle_v1, gateway.command_log_v1 TO caas_ota, caas_telemetry, caas_api;
