-- What customers and staff were told, by which channel, and whether it went out (DOMAIN 15).
-- Owner: the API and its worker.

CREATE SCHEMA notifications;
GRANT USAGE ON SCHEMA notifications TO caas_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA notifications
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO caas_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA notifications GRANT USAGE ON SEQUENCES TO caas_api;

CREATE TABLE notifications.message (
    message_id uuid PRIMARY KEY,
    dedupe_key text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('EMAIL', 'PUSH', 'SMS', 'DISPLAY', 'IN_APP')),
    audience text NOT NULL,                   -- customer, or a staff role
    event text NOT NULL,
    customer_id uuid,
    vin text,
    activation_id uuid,
    recipient text NOT NULL,                  -- address, number, VIN or customer id
    subject text NOT NULL,
    body text NOT NULL,                       -- empty where it held a secret
    state text NOT NULL CHECK (state IN ('PENDING', 'SENT', 'NO_CHANNEL')),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    CONSTRAINT message_once UNIQUE (dedupe_key, channel, audience)
);
CREATE INDEX message_customer ON notifications.message (customer_id, created_at);
