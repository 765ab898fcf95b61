-- Certificates of vehicles, who did what in the registry, and the announcement of a revocation
-- (DOMAIN 7 and 8). Owner: the gateway.

CREATE TABLE gateway.certificate (
    fingerprint text PRIMARY KEY CHECK (fingerprint ~ '^[0-9a-f]{64}$'), -- SHA-256 of the DER form
    vin text NOT NULL REFERENCES gateway.vehicle (vin),
    serial text NOT NULL CHECK (serial ~ '^[0-9a-f]{1,40}$'),
    issuer text NOT NULL,                     -- RFC 4514
    own boolean NOT NULL,                     -- issued by our own CA: its revocation is in our list
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    registered_at timestamptz NOT NULL,
    revoked_at timestamptz,
    reason text,
    UNIQUE (issuer, serial),
    CHECK ((revoked_at IS NULL) = (reason IS NULL))
);
CREATE INDEX certificate_vehicle ON gateway.certificate (vin);
CREATE INDEX certificate_expiry ON gateway.certificate (not_after) WHERE revoked_at IS NULL;
CREATE INDEX certificate_revoked ON gateway.certificate (revoked_at) WHERE revoked_at IS NOT NULL;

-- Who did what to a vehicle's place in the registry; only ever added to.
CREATE TABLE gateway.registry_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL CHECK (action IN (
        'ENROLLED', 'IMPORTED', 'REINSTATED', 'SECRET_SET', 'CERTIFICATE_ISSUED',
        'CERTIFICATE_REGISTERED', 'CERTIFICATES_REVOKED', 'REVOKED')),
    vin text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX registry_event_vehicle ON gateway.registry_event (vin, id);
REVOKE UPDATE, DELETE ON gateway.registry_event FROM caas_gateway;

-- A credential that worked until now does not any more: `gateway_revocations` tells its VIN, for
-- the revocation list and for whoever ends the connection that is still open with it.
CREATE FUNCTION gateway.announce_revocation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('gateway_revocations', NEW.vin);
    RETURN NULL;
END $$;
CREATE TRIGGER announce_revoked_vehicle
    AFTER UPDATE OF status, secret_hash ON gateway.vehicle
    FOR EACH ROW WHEN (
        (OLD.status <> NEW.status AND NEW.status = 'REVOKED')
        OR (OLD.secret_hash IS NOT NULL AND OLD.secret_hash IS DISTINCT FROM NEW.secret_hash))
    EXECUTE FUNCTION gateway.announce_revocation();
CREATE TRIGGER announce_revoked_certificate
    AFTER UPDATE OF revoked_at ON gateway.certificate
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION gateway.announce_revocation();

CREATE VIEW gateway.certificate_v1 AS
    SELECT vin, fingerprint, serial, issuer, own, not_before, not_after, registered_at, revoked_at,
           reason
    FROM gateway.certificate;
CREATE VIEW gateway.registry_event_v1 AS
    SELECT id, at, actor, action, vin, detail FROM gateway.registry_event;
GRANT SELECT ON gateway.certificate_v1, gateway.registry_event_v1
    TO caas_ota, caas_telemetry, caas_api, caas_reader;
