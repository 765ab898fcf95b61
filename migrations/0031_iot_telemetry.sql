-- Telemetry on its way to clients of the IoT API (DOMAIN 9). Owner: the gateway.

-- One secret signs all that goes to a client.
ALTER TABLE gateway.iot_client
    ADD COLUMN telemetry_url text,
    DROP CONSTRAINT iot_client_check,
    ADD CONSTRAINT iot_client_secret_with_url
        CHECK ((callback_url IS NULL AND telemetry_url IS NULL) = (callback_secret IS NULL));

-- A row until the client has it, or it is too old.
CREATE TABLE gateway.iot_push (
    push_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    vin text NOT NULL,
    boot bigint NOT NULL,
    n bigint NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    leased_until timestamptz,                 -- a replica sends it
    UNIQUE (client_id, vin, boot, n)
);
CREATE INDEX iot_push_age ON gateway.iot_push (created_at);
-- A client that does not take what it is sent: nothing more before next_at.
CREATE TABLE gateway.iot_push_pause (
    client_id text PRIMARY KEY REFERENCES gateway.iot_client (client_id),
    failures integer NOT NULL,
    next_at timestamptz NOT NULL
);
