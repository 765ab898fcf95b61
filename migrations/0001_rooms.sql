-- One schema per owner, and a database role per room: a room writes its own schemas only.
-- In production each role gets a login of its own; where one user is a member of all of them,
-- a connection takes its room's role on (CAAS_DB_SET_ROLE). `caas_reader` reads the views only
-- (Grafana, reports).

DO $$
DECLARE
    room text;
BEGIN
    FOREACH room IN ARRAY ARRAY[
        'caas_gateway', 'caas_ota', 'caas_telemetry', 'caas_api', 'caas_reader'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = room) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', room);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of the same cluster is being migrated at this moment
            END;
        END IF;
    END LOOP;
END $$;

CREATE SCHEMA gateway;
CREATE SCHEMA ota;
CREATE SCHEMA support;
CREATE SCHEMA telemetry;
CREATE SCHEMA config;
CREATE SCHEMA customers;
CREATE SCHEMA orders;
CREATE SCHEMA services;
CREATE SCHEMA billing;

DO $$
DECLARE
    owned record;
BEGIN
    FOR owned IN
        SELECT * FROM (VALUES
            ('gateway', 'caas_gateway'),
            ('ota', 'caas_ota'), ('support', 'caas_ota'),
            ('telemetry', 'caas_telemetry'),
            ('config', 'caas_api'), ('customers', 'caas_api'), ('orders', 'caas_api'),
            ('services', 'caas_api'), ('billing', 'caas_api')
        ) AS t (schema, role)
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', owned.schema, owned.role);
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
            owned.schema, owned.role);
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO %I',
            owned.schema, owned.role);
    END LOOP;
END $$;

-- Rooms read each other through versioned views; using a schema grants none of its tables.
GRANT USAGE ON SCHEMA gateway, ota, support, telemetry, config, customers, orders, services, billing
    TO caas_gateway, caas_ota, caas_telemetry, caas_api, caas_reader;

-- The job queue is everybody's.
GRANT USAGE ON SCHEMA jobs TO caas_gateway, caas_ota, caas_telemetry, caas_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs
    TO caas_gateway, caas_ota, caas_telemetry, caas_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA jobs
    TO caas_gateway, caas_ota, caas_telemetry, caas_api;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs
    TO caas_gateway, caas_ota, caas_telemetry, caas_api;
