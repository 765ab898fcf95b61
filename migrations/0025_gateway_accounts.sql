-- Which credentials changed lately: asked every few seconds, for the accounts of the running broker
-- (ADR 5). Owner: the gateway.

CREATE INDEX registry_event_credentials ON gateway.registry_event (at)
    WHERE action IN ('SECRET_SET', 'REVOKED', 'REINSTATED');
