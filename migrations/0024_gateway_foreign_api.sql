-- Vehicles behind a foreign IoT API (DOMAIN 1 and 9): the duties of a vehicle, kept for it here.
-- Owner: the gateway. Nothing of this is in a process, so replicas and restarts hold.

CREATE TABLE gateway.foreign_vehicle (
    vin text PRIMARY KEY REFERENCES gateway.vehicle (vin) ON DELETE CASCADE,
    api text,                                 -- its name in CAAS_FOREIGN_APIS_FILE; null = none fits
    highest_seq bigint NOT NULL DEFAULT 0,    -- of the commands verified so far (BUS, Answer)
    applied_seq bigint NOT NULL DEFAULT 0,    -- the last command that is known to be in effect
    values jsonb,                             -- {"MODULE.parameter": value} as last known
    values_at timestamptz,
    config_digest text,                       -- of the configuration last said on the bus
    online boolean NOT NULL DEFAULT false,
    session text,                             -- ours: the API knows no connections
    boot bigint NOT NULL DEFAULT 0,           -- ours: counts the sessions
    status jsonb,                             -- the VehicleStatus last said on the bus
    status_at timestamptz,
    quiet_until timestamptz,                  -- the API's quota is used up: say no status before
    events_at timestamptz NOT NULL DEFAULT now(), -- of the vehicle log's newest entry said
    poll_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,                 -- a replica works on it
    leased_by integer                         -- its slot
);
CREATE INDEX foreign_vehicle_due ON gateway.foreign_vehicle (api, due_at);

CREATE TABLE gateway.foreign_command (
    vin text NOT NULL REFERENCES gateway.foreign_vehicle (vin) ON DELETE CASCADE,
    command_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONFIGURE', 'QUERY', 'TEST', 'DISPLAY')),
    body jsonb NOT NULL,                      -- the Command, verified
    -- RECEIVED → SENT (the API took it) → COMPLETED or FAILED (the API says so) → DONE (told)
    state text NOT NULL CHECK (state IN ('RECEIVED', 'SENT', 'COMPLETED', 'FAILED', 'DONE')),
    foreign_id uuid,                          -- the API's own id of it
    error_code text,
    tries integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    answer jsonb,                             -- the last one: a known id gets it again
    PRIMARY KEY (vin, command_id)
);
CREATE INDEX foreign_command_open ON gateway.foreign_command (vin, due_at) WHERE state <> 'DONE';
CREATE INDEX foreign_command_age ON gateway.foreign_command (received_at) WHERE state = 'DONE';

-- A configuration waits for the end of an earlier one, or the time of that: what a vehicle reports
-- is then what the one it is read for has made of it.
CREATE VIEW gateway.foreign_open_command AS
    SELECT c.* FROM gateway.foreign_command c
    WHERE c.state <> 'DONE' AND NOT EXISTS (
        SELECT FROM gateway.foreign_command e
        WHERE e.vin = c.vin AND e.seq < c.seq AND e.kind = 'CONFIGURE' AND c.kind = 'CONFIGURE'
          AND e.state <> 'DONE' AND (e.state <> 'SENT' OR e.expires_at > now()));

-- What is to be said on the bus for a vehicle, in this order.
CREATE TABLE gateway.foreign_message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL REFERENCES gateway.foreign_vehicle (vin) ON DELETE CASCADE,
    topic text NOT NULL,
    payload bytea NOT NULL,
    made_at timestamptz NOT NULL
);
CREATE INDEX foreign_message_vin ON gateway.foreign_message (vin, message_id);

-- Callbacks taken, each once (DOMAIN 17).
CREATE TABLE gateway.foreign_inbox (
    source text NOT NULL,                     -- the API's name
    message_id text NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (source, message_id)
);
CREATE INDEX foreign_inbox_age ON gateway.foreign_inbox (received_at);

CREATE VIEW gateway.foreign_vehicle_v1 AS
    SELECT f.vin, f.api, f.online, f.applied_seq, f.poll_at, f.quiet_until,
           (SELECT count(*) FROM gateway.foreign_command c
            WHERE c.vin = f.vin AND c.state <> 'DONE') AS open_commands
    FROM gateway.foreign_vehicle f;
GRANT SELECT ON gateway.foreign_vehicle_v1 TO caas_api, caas_reader;
