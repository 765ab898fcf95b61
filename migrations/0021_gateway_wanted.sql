-- Wanted configuration, drift and its correction (DOMAIN 4, 7, 8); presence's log and flaps.
-- Owners: the gateway, and the OTA engine for its part at the end.

-- What a vehicle's optional parameters are to be, of those the platform has ever switched.
CREATE TABLE gateway.wanted (
    vin text PRIMARY KEY REFERENCES gateway.vehicle (vin) ON DELETE CASCADE,
    version bigint NOT NULL,
    -- [{module, parameter, value, until?, revert?}]: from ``until`` on it is to be ``revert``
    wanted_values jsonb NOT NULL,
    changed_at timestamptz NOT NULL,
    cause text NOT NULL
);
CREATE TABLE gateway.wanted_history (
    vin text NOT NULL,
    version bigint NOT NULL,
    wanted_values jsonb NOT NULL,
    changed_at timestamptz NOT NULL,
    cause text NOT NULL,
    PRIMARY KEY (vin, version)
);

-- The one way into the wanted document: merges ``p_values`` within the caller's transaction. A new
-- version only where something changes, so the same call again changes nothing. Only parameters
-- that a service of the vehicle's platform switches get in (S2): others come back as ``refused``.
CREATE FUNCTION gateway.want_v1(p_vin text, p_values jsonb, p_cause text, p_now timestamptz)
RETURNS TABLE (outcome text, version bigint, refused jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    v_model text;
    v_known gateway.wanted;
    v_merged jsonb;
    v_refused jsonb;
BEGIN
    SELECT v.model INTO v_model FROM gateway.vehicle v WHERE v.vin = p_vin;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'UNKNOWN_VIN', NULL::bigint, p_values;
        RETURN;
    END IF;
    INSERT INTO gateway.wanted AS w (vin, version, wanted_values, changed_at, cause)
    VALUES (p_vin, 0, '[]', p_now, 'NONE')
    ON CONFLICT (vin) DO NOTHING;
    SELECT w.* INTO v_known FROM gateway.wanted w WHERE w.vin = p_vin FOR UPDATE;

    WITH asked AS (
        SELECT (a.item->>'module') || '.' || (a.item->>'parameter') AS name, a.n,
               jsonb_strip_nulls(jsonb_build_object(
                   'module', a.item->'module', 'parameter', a.item->'parameter',
                   'value', a.item->'value', 'until', a.item->'until',
                   'revert', a.item->'revert')) AS item,
               coalesce(jsonb_typeof(a.item->'value') IN ('string', 'number', 'boolean'), false)
               AND EXISTS (
                   SELECT FROM config.mapping m, jsonb_array_elements(m.settings) AS s (setting)
                   WHERE m.platform = v_model
                     AND s.setting->>'module' = a.item->>'module'
                     AND s.setting->>'parameter' = a.item->>'parameter') AS optional
        FROM jsonb_array_elements(p_values) WITH ORDINALITY AS a (item, n)
    ), merged AS (
        SELECT DISTINCT ON (b.name) b.name, b.item
        FROM (
            SELECT asked.name, asked.item, 0 AS age, asked.n FROM asked WHERE asked.optional
            UNION ALL
            SELECT (k.item->>'module') || '.' || (k.item->>'parameter'), k.item, 1, 0
            FROM jsonb_array_elements(v_known.wanted_values) AS k (item)
        ) AS b
        ORDER BY b.name, b.age, b.n DESC
    )
    SELECT (SELECT coalesce(jsonb_agg(merged.item ORDER BY merged.name COLLATE "C"), '[]')
            FROM merged),
           (SELECT coalesce(jsonb_agg(asked.name), '[]') FROM asked WHERE NOT asked.optional)
    INTO v_merged, v_refused;

    IF v_merged = v_known.wanted_values THEN
        RETURN QUERY SELECT 'UNCHANGED', v_known.version, v_refused;
        RETURN;
    END IF;
    UPDATE gateway.wanted w SET version = w.version + 1, wanted_values = v_merged,
        changed_at = p_now, cause = p_cause
    WHERE w.vin = p_vin RETURNING w.* INTO v_known;
    INSERT INTO gateway.wanted_history AS h (vin, version, wanted_values, changed_at, cause)
    VALUES (v_known.vin, v_known.version, v_known.wanted_values, v_known.changed_at,
            v_known.cause);
    RETURN QUERY SELECT 'CHANGED', v_known.version, v_refused;
END $$;
REVOKE ALL ON FUNCTION gateway.want_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.want_v1 TO caas_gateway, caas_ota;

-- The last report found in step with which version, and until when that holds: an equal pair is
-- not looked at again.
ALTER TABLE gateway.vehicle_state
    ADD COLUMN in_step_digest text,
    ADD COLUMN in_step_version bigint,
    ADD COLUMN in_step_until timestamptz;

-- A vehicle that reports something else than is wanted.
CREATE TABLE gateway.drift (
    drift_id uuid PRIMARY KEY,
    vin text NOT NULL,
    opened_at timestamptz NOT NULL,
    cause text NOT NULL CHECK (cause IN (
        'NOT_FOLLOWED',       -- it never came to be so: a missed switch-off or switch-on
        'CHANGED_IN_VEHICLE', -- it was so, and was changed in the vehicle
        'UNIT_REPLACED',      -- the unit counts commands anew
        'UNKNOWN_PARAMETER',  -- the firmware does not report the parameter
        'MODEL_MISMATCH',     -- it says it is another model than the registry has
        'NOT_MANAGED')),      -- a parameter nothing is wanted of was changed: a base parameter
    state text NOT NULL CHECK (state IN (
        'CORRECTING',         -- the OTA engine was asked to correct it
        'FAILED',             -- it gave up; there is a ticket
        'ALARM',              -- not to be corrected by commands: for people
        'CLOSED')),
    wanted_version bigint NOT NULL,
    -- [{module, parameter, wanted, reported?}]; of NOT_MANAGED [{module, parameter, before, reported}]
    difference jsonb NOT NULL,
    firmware text NOT NULL,                   -- as reported
    report_seq bigint NOT NULL,
    report_at timestamptz NOT NULL,           -- the vehicle's own time
    asked_at timestamptz,                     -- when the engine was asked last
    rounds integer NOT NULL DEFAULT 1,        -- how often it was asked anew
    reason text,                              -- why it failed, or is an alarm
    ticket_number text,
    failed_at timestamptz,
    closed_at timestamptz,
    ended text CHECK (ended IN (
        'CORRECTED',          -- a report matches, after a command of ours
        'BY_ITSELF',          -- a report matches, and nobody of us did it
        'SUPERSEDED',         -- something else is wanted now
        'NOTED')),            -- nothing is to be done about it (NOT_MANAGED)
    CHECK ((state = 'CLOSED') = (closed_at IS NOT NULL)),
    CHECK ((closed_at IS NULL) = (ended IS NULL))
);
CREATE UNIQUE INDEX drift_one_open ON gateway.drift (vin) WHERE closed_at IS NULL;
CREATE INDEX drift_of ON gateway.drift (vin, opened_at);
CREATE INDEX drift_closed ON gateway.drift (closed_at) WHERE closed_at IS NOT NULL;

-- The engine gave up on a drift. Nothing where it was closed in the meantime.
CREATE FUNCTION gateway.drift_failed_v1(
    p_drift_id uuid, p_reason text, p_ticket_number text, p_now timestamptz
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    UPDATE gateway.drift SET state = 'FAILED', reason = p_reason,
        ticket_number = coalesce(p_ticket_number, ticket_number), failed_at = p_now
    WHERE drift_id = p_drift_id AND state = 'CORRECTING';
    RETURN FOUND;
END $$;
REVOKE ALL ON FUNCTION gateway.drift_failed_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.drift_failed_v1 TO caas_ota;

-- Presence: why it is as it is, a session beside the present one, and how restless it is.
ALTER TABLE gateway.vehicle_state
    ADD COLUMN presence_reason text,
    ADD COLUMN other_session text,            -- began by a clock that had gone back
    ADD COLUMN other_at timestamptz,
    ADD COLUMN other_boot bigint,
    ADD COLUMN past_sessions text[] NOT NULL DEFAULT '{}', -- the last few that are over
    ADD COLUMN flaps bigint NOT NULL DEFAULT 0,
    ADD COLUMN flap_streak integer NOT NULL DEFAULT 0,     -- flaps in a row
    ADD COLUMN last_flap_at timestamptz,
    ADD COLUMN unstable_until timestamptz;    -- too many flaps in a row: until they have stopped

-- What presence did. Outages shorter than a flap are no rows of their own: one row of reason FLAP
-- stands for all of a run, with their number.
CREATE TABLE gateway.connectivity_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL,
    at timestamptz NOT NULL,                  -- our time
    until timestamptz,                        -- of a run of flaps: the last one
    from_presence text NOT NULL,
    to_presence text NOT NULL,
    reason text NOT NULL CHECK (reason IN (
        'CONNECT', 'DISCONNECT', 'WILL', 'SILENCE', 'BACK', 'WEAK_SIGNAL', 'STRONG_SIGNAL',
        'FLAP')),
    session text,
    flaps integer NOT NULL DEFAULT 0
);
CREATE INDEX connectivity_log_of ON gateway.connectivity_log (vin, id DESC);
CREATE INDEX connectivity_log_at ON gateway.connectivity_log (at);

CREATE VIEW gateway.wanted_v1 AS
    SELECT vin, version, wanted_values, changed_at, cause
    FROM gateway.wanted WHERE version > 0;
CREATE VIEW gateway.wanted_history_v1 AS
    SELECT vin, version, wanted_values, changed_at, cause FROM gateway.wanted_history;
CREATE VIEW gateway.drift_v1 AS
    SELECT drift_id, vin, opened_at, cause, state, wanted_version, difference, firmware, report_seq,
           report_at, rounds, reason, ticket_number, failed_at, closed_at, ended
    FROM gateway.drift;
CREATE VIEW gateway.connectivity_v1 AS
    SELECT id, vin, at, until, from_presence, to_presence, reason, session, flaps
    FROM gateway.connectivity_log;
CREATE VIEW gateway.connection_v1 AS
    SELECT vin, presence, presence_since, presence_reason, session, last_seen_at, signal_pct,
           flaps, flap_streak, last_flap_at, unstable_until
    FROM gateway.vehicle_state;
GRANT SELECT ON gateway.wanted_v1, gateway.wanted_history_v1, gateway.drift_v1,
    gateway.connectivity_v1, gateway.connection_v1
    TO caas_ota, caas_telemetry, caas_api, caas_reader;

-- The engine's part: a correction is a delivery that belongs to a drift and not to an activation.
ALTER TABLE ota.delivery
    ALTER COLUMN activation_id DROP NOT NULL,
    ADD COLUMN drift_id uuid,
    ADD COLUMN service_code text,             -- of a correction: whose parameters these are
    ADD COLUMN valid_until timestamptz,       -- of a correction: the wanted values' end
    DROP CONSTRAINT delivery_direction_check,
    ADD CONSTRAINT delivery_direction_check CHECK (direction IN ('ON', 'OFF', 'CORRECTION')),
    ADD CONSTRAINT delivery_belongs CHECK (
        (direction = 'CORRECTION') = (activation_id IS NULL)
        AND (direction = 'CORRECTION') = (drift_id IS NOT NULL));
CREATE INDEX delivery_of_drift ON ota.delivery (drift_id) WHERE drift_id IS NOT NULL;
ALTER TABLE ota.attempt ALTER COLUMN activation_id DROP NOT NULL;

ALTER TABLE support.ticket
    ALTER COLUMN activation_id DROP NOT NULL,
    ADD COLUMN drift_id uuid,
    DROP CONSTRAINT ticket_kind_check,
    ADD CONSTRAINT ticket_kind_check CHECK (kind IN ('ACTIVATION', 'SWITCH_OFF', 'DRIFT')),
    ADD CONSTRAINT ticket_belongs CHECK (
        (kind = 'DRIFT') = (drift_id IS NOT NULL) AND (kind = 'DRIFT') = (activation_id IS NULL));
CREATE UNIQUE INDEX ticket_one_per_drift ON support.ticket (drift_id) WHERE kind = 'DRIFT';
CREATE OR REPLACE VIEW support.ticket_v1 AS
    SELECT ticket_id, number, activation_id, vin, customer_id, service_code, payment_id, kind,
           priority, state, error_code, error_message, package, first_contact_due, resolution_due,
           created_at, updated_at, drift_id
    FROM support.ticket;

-- What is under way on a vehicle: these parameters are not drift.
CREATE VIEW ota.open_delivery_v1 AS
    SELECT delivery_id, vin, direction, activation_id, drift_id, state, wanted, created_at
    FROM ota.delivery WHERE due_at IS NOT NULL;
GRANT SELECT ON ota.open_delivery_v1 TO caas_gateway, caas_api, caas_telemetry, caas_reader;
