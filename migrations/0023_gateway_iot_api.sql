-- The gateway's own commands, and the IoT API that orders them (DOMAIN 7 and 9). Owner: the gateway.

CREATE TABLE gateway.command (
    command_id uuid PRIMARY KEY REFERENCES gateway.command_log (command_id),
    vin text NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONFIGURE', 'QUERY', 'TEST', 'DISPLAY')),
    source text NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
    body jsonb NOT NULL,                      -- the Command as signed
    issued_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,              -- not completed by then: FAILED (TIMEOUT)
    publish_after timestamptz NOT NULL,       -- still QUEUED then: publish it (again)
    published_at timestamptz,
    last_result text,                         -- the vehicle's last answer
    completed_at timestamptz,
    error_code text,
    UNIQUE (vin, seq),
    CHECK ((state IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL))
);
CREATE INDEX command_unpublished ON gateway.command (publish_after) WHERE state = 'QUEUED';
CREATE INDEX command_due ON gateway.command (due_at) WHERE state IN ('QUEUED', 'IN_PROGRESS');
CREATE INDEX command_open ON gateway.command (vin) WHERE state IN ('QUEUED', 'IN_PROGRESS');
-- At most one configuration in flight per vehicle.
CREATE UNIQUE INDEX command_one_in_flight ON gateway.command (vin)
    WHERE kind = 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS');

CREATE FUNCTION gateway.announce_command() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('gateway_commands', '');
    RETURN NULL;
END $$;
CREATE TRIGGER announce_command AFTER INSERT ON gateway.command
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.announce_command();

-- Who may call the IoT API, and for which vehicles.
CREATE TABLE gateway.iot_client (
    client_id text PRIMARY KEY CHECK (client_id ~ '^[a-z0-9][a-z0-9-]{1,62}$'),
    scopes text[] NOT NULL CHECK (scopes <@ ARRAY['configure', 'read']),
    every_vehicle boolean NOT NULL DEFAULT false, -- else those of iot_client_vehicle
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'REVOKED')),
    callback_url text,
    callback_secret text,                     -- both sides need it as it is: HMAC
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((callback_url IS NULL) = (callback_secret IS NULL))
);
CREATE TABLE gateway.iot_client_vehicle (
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    vin text NOT NULL REFERENCES gateway.vehicle (vin) ON DELETE CASCADE,
    PRIMARY KEY (client_id, vin)
);
-- Two at a time, so that a rotation needs no common moment. A secret is 256 random bits: SHA-256
-- is enough, nothing can be guessed.
CREATE TABLE gateway.iot_client_secret (
    secret_hash bytea PRIMARY KEY,
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE TABLE gateway.iot_token (
    token_hash bytea PRIMARY KEY,
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    scopes text[] NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX iot_token_expiry ON gateway.iot_token (expires_at);

-- A request by its caller's id: the same again gets the first answer (DOMAIN 9).
CREATE TABLE gateway.iot_request (
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    request_id text NOT NULL,
    body_hash bytea NOT NULL,
    command_id uuid NOT NULL UNIQUE REFERENCES gateway.command (command_id)
        DEFERRABLE INITIALLY DEFERRED,
    service_id text NOT NULL,
    configuration jsonb NOT NULL,
    requested_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, request_id)
);

-- What became of a command, on its way to the caller's URL.
CREATE TABLE gateway.iot_callback (
    callback_id uuid PRIMARY KEY,
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    command_id uuid NOT NULL UNIQUE REFERENCES gateway.command (command_id),
    body text NOT NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz,                      -- null = delivered or given up
    last_answer text,
    created_at timestamptz NOT NULL,
    CHECK ((state = 'PENDING') = (next_at IS NOT NULL))
);
CREATE INDEX iot_callback_due ON gateway.iot_callback (next_at) WHERE state = 'PENDING';
CREATE INDEX iot_callback_dead ON gateway.iot_callback (created_at) WHERE state = 'DEAD';
