-- Catalogue, mapping and capabilities (DOMAIN 3 and 4). Owner: the API (administrators edit it).

CREATE TABLE config.vehicle_model (
    code text PRIMARY KEY,                    -- AURORA: the platform (plataforma base)
    name text NOT NULL,
    engine_type text NOT NULL CHECK (engine_type IN ('PETROL', 'DIESEL', 'ELECTRIC', 'HYBRID')),
    firmware_version text NOT NULL,           -- what the factory delivers today
    base_features text[] NOT NULL DEFAULT '{}',
    base_price_minor bigint NOT NULL CHECK (base_price_minor > 0),
    currency text NOT NULL DEFAULT 'EUR',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE config.service (
    service_id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE,                -- PERF_BOOST_50
    name text NOT NULL,
    category text NOT NULL,
    description text NOT NULL DEFAULT '',
    requires_maintenance boolean NOT NULL,
    required_blocks text[] NOT NULL DEFAULT '{}',
    safety_critical boolean NOT NULL DEFAULT false,
    min_compliance integer NOT NULL DEFAULT 100 CHECK (min_compliance BETWEEN 0 AND 100),
    vss_policy text NOT NULL DEFAULT 'DENY_ON_ERROR'
        CHECK (vss_policy IN ('DENY_ON_ERROR', 'ALLOW_ON_ERROR')),
    min_firmware text,
    hide_after_withdrawal boolean NOT NULL DEFAULT false,
    max_retries integer,                      -- null: ota.max_retries (DOMAIN 20)
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (NOT (safety_critical AND vss_policy = 'ALLOW_ON_ERROR'))
);

CREATE TABLE config.price (
    service_code text NOT NULL REFERENCES config.service (code),
    tier text NOT NULL CHECK (tier IN ('DAY', 'WEEK', 'MONTH', 'QUARTER', 'PERMANENT', 'SUBSCRIPTION')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL DEFAULT 'EUR',
    PRIMARY KEY (service_code, tier)
);

-- A service on a platform: which parameters it switches, and when that is safe. No row = the
-- platform does not have the service.
CREATE TABLE config.mapping (
    service_code text NOT NULL REFERENCES config.service (code),
    platform text NOT NULL REFERENCES config.vehicle_model (code),
    settings jsonb NOT NULL,                  -- [{module, parameter, on_value, off_value}]
    safe_state text NOT NULL CHECK (safe_state IN ('PARKED', 'ANY')),
    PRIMARY KEY (service_code, platform),
    CHECK (jsonb_typeof(settings) = 'array' AND jsonb_array_length(settings) > 0)
);

-- The optional parameters a firmware knows. Base platform parameters are never in here, so no
-- command can address them (S2).
CREATE TABLE config.capability (
    model text NOT NULL REFERENCES config.vehicle_model (code),
    firmware_version text NOT NULL,
    module text NOT NULL,
    parameter text NOT NULL,
    allowed jsonb NOT NULL,                   -- array of values
    PRIMARY KEY (model, firmware_version, module, parameter)
);

CREATE VIEW config.service_v1 AS
    SELECT code, name, category, safety_critical, min_firmware, max_retries FROM config.service;
CREATE VIEW config.mapping_v1 AS
    SELECT service_code, platform, settings, safe_state FROM config.mapping;
CREATE VIEW config.capability_v1 AS
    SELECT model, firmware_version, module, parameter, allowed FROM config.capability;
CREATE VIEW config.vehicle_model_v1 AS
    SELECT code, name, engine_type, firmware_version FROM config.vehicle_model;

GRANT SELECT ON config.service_v1, config.mapping_v1, config.capability_v1, config.vehicle_model_v1
    TO caas_gateway, caas_ota, caas_telemetry;
