-- Who only reads (Grafana, reports) reads the versioned views, and nothing else.

DO $$
DECLARE
    shown record;
BEGIN
    FOR shown IN
        SELECT schemaname, viewname FROM pg_views
        WHERE viewname LIKE '%\_v1' AND schemaname IN (
            'gateway', 'ota', 'support', 'telemetry', 'config', 'customers', 'orders', 'services',
            'billing')
    LOOP
        EXECUTE format('GRANT SELECT ON %I.%I TO caas_reader', shown.schemaname, shown.viewname);
    END LOOP;
END $$;
