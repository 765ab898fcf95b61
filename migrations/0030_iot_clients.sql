-- More ways to sign in to the IoT API, vehicles by model, and telemetry for clients (DOMAIN 9).
-- Owner: the gateway.

-- Beside the vehicles allowed by name: every vehicle of these models.
ALTER TABLE gateway.iot_client ADD COLUMN models text[] NOT NULL DEFAULT '{}';

-- Signed requests. Both sides need the secret as it is: HMAC.
CREATE TABLE gateway.iot_client_key (
    key_id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    secret text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
-- Client certificates, checked by the proxy that ends the TLS; SHA-256 of the certificate.
CREATE TABLE gateway.iot_client_certificate (
    fingerprint bytea PRIMARY KEY CHECK (length(fingerprint) = 32),
    client_id text NOT NULL REFERENCES gateway.iot_client (client_id),
    created_at timestamptz NOT NULL
);
