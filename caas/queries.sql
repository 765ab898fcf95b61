-- name: delivered_firmware
SELECT code, firmware_version FROM config.vehicle_model_v1;

-- name: bench_rows
SELECT count(*) FROM telemetry.sample_v1;

-- name: bench_stored
SELECT count(*) FROM (SELECT DISTINCT vin, t FROM telemetry.sample_v1) AS each_once;

-- name: bench_commits
-- When the first sample of each message was committed, in seconds since the epoch.
SELECT v.vin, m.n, extract(epoch FROM pg_xact_commit_timestamp(s.xmin))::double precision AS committed
FROM generate_series(0, %(messages)s - 1) AS m (n)
JOIN telemetry.sample s
    ON s.t = 'epoch'::timestamptz + (%(base_ms)s + m.n * %(samples)s) * interval '1 millisecond'
JOIN telemetry.vehicle v ON v.id = s.vehicle_id;

-- name: bench_drop_copy
DROP TABLE IF EXISTS public.bench_copy;

-- name: bench_make_copy
CREATE TABLE public.bench_copy (LIKE telemetry.sample INCLUDING ALL);

-- name: bench_copy
COPY public.bench_copy FROM STDIN (FORMAT binary);
