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

-- name: bench_admit
SELECT command_id, seq FROM gateway.admit_commands_v1(
    %(ids)s, %(vins)s, %(kinds)s, %(source)s, %(services)s, %(contents)s, %(now)s, %(quota)s)
WHERE outcome = 'ADMITTED';

-- name: bench_answered
-- When the gateway committed each command's last answer, in seconds since the epoch.
SELECT l.command_id::text,
    extract(epoch FROM pg_xact_commit_timestamp(a.xmin))::double precision AS committed
FROM gateway.command_log l JOIN gateway.command_answer a USING (command_id)
WHERE l.command_id = ANY(%(ids)s) AND a.last_result IN ('ACCEPTED', 'APPLIED');

-- name: bench_reported
-- When the gateway last wrote the state of each vehicle whose configuration shows the command.
SELECT l.command_id::text,
    extract(epoch FROM pg_xact_commit_timestamp(s.xmin))::double precision AS committed
FROM gateway.command_log l
JOIN gateway.vehicle_state s ON s.vin = l.vin AND s.reported_seq = l.seq
WHERE l.command_id = ANY(%(ids)s);

-- name: bench_waiting
-- How many of these commands have no answer, or no configuration of their vehicle, stored yet.
SELECT count(*)
FROM gateway.command_log l
JOIN gateway.vehicle_state s USING (vin)
LEFT JOIN gateway.command_answer a USING (command_id)
WHERE l.command_id = ANY(%(ids)s)
  AND (a.command_id IS NULL OR coalesce(s.reported_seq, 0) < l.seq);
