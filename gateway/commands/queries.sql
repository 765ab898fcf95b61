-- The command log and its answers.

-- name: save_answers
-- The commands answered, each with its answer before; no row for one of another vehicle's.
WITH command AS (
    SELECT w.place, w.result, w.reason, w.at, l.command_id, l.kind, l.admitted_at,
        a.last_result AS result_before
    FROM unnest(%(ids)s::uuid[], %(vins)s::text[], %(results)s::text[], %(reasons)s::text[],
            %(ats)s::timestamptz[])
        WITH ORDINALITY AS w (command_id, vin, result, reason, at, place)
    JOIN gateway.command_log l ON l.command_id = w.command_id AND l.vin = w.vin
    LEFT JOIN gateway.command_answer a ON a.command_id = w.command_id
), saved AS (
    INSERT INTO gateway.command_answer AS a (command_id, last_result, last_reason, answered_at)
    SELECT command_id, result, reason, at FROM command
    ON CONFLICT (command_id) DO UPDATE SET
        last_result = excluded.last_result, last_reason = excluded.last_reason,
        answered_at = excluded.answered_at
    WHERE a.answered_at <= excluded.answered_at
)
SELECT (place - 1)::integer AS place, kind, admitted_at, result_before FROM command

-- name: commands_of_reports
SELECT (w.place - 1)::integer AS place, l.kind, l.admitted_at, NULL AS result_before
FROM unnest(%(vins)s::text[], %(seqs)s::bigint[]) WITH ORDINALITY AS w (vin, seq, place)
JOIN gateway.command_log l ON l.vin = w.vin AND l.seq = w.seq

-- name: checkpoint
SELECT gateway.checkpoint_commands_v1(%(now)s)

-- name: last_checkpoint
SELECT checkpoint_id, at, vehicles, encode(hash, 'hex') AS hash
FROM gateway.command_checkpoint ORDER BY checkpoint_id DESC LIMIT 1

-- name: commands
SELECT command_id, vin, seq, kind, source, service, admitted_at, last_result, last_reason,
    answered_at, hash
FROM gateway.command_log_v1
WHERE (%(vin)s::text IS NULL OR vin = %(vin)s)
  AND (%(source)s::text IS NULL OR source = %(source)s)
  AND (%(since)s::timestamptz IS NULL OR admitted_at >= %(since)s)
ORDER BY admitted_at DESC, seq DESC
LIMIT %(limit)s

-- The columns of LoggedCommand (chain.py), in its order.
-- name: chain
SELECT command_id::text, vin, seq, kind, source, service,
    (extract(epoch FROM admitted_at) * 1000000)::bigint, content::text, previous_hash, hash
FROM gateway.command_log
WHERE (%(vin)s::text IS NULL OR vin = %(vin)s)
ORDER BY vin COLLATE "C", seq

-- name: chain_length
SELECT count(*) FROM gateway.command_log WHERE (%(vin)s::text IS NULL OR vin = %(vin)s)

-- A vehicle's row remembers where its chain ends.
-- name: wrong_end
SELECT v.vin, v.last_seq AS seq
FROM gateway.vehicle v
LEFT JOIN LATERAL (
    SELECT l.seq, l.hash FROM gateway.command_log l WHERE l.vin = v.vin ORDER BY l.seq DESC LIMIT 1
) newest ON true
WHERE (%(vin)s::text IS NULL OR v.vin = %(vin)s)
  AND (coalesce(newest.seq, 0) <> v.last_seq OR newest.hash IS DISTINCT FROM v.last_hash)
ORDER BY v.vin COLLATE "C" LIMIT 1

-- name: checkpoints
SELECT checkpoint_id, (extract(epoch FROM at) * 1000000)::bigint, vehicles, previous_hash, hash
FROM gateway.command_checkpoint ORDER BY checkpoint_id

-- name: heads
SELECT checkpoint_id, vin, seq, hash
FROM gateway.command_checkpoint_head ORDER BY checkpoint_id, vin COLLATE "C"

-- What a checkpoint saw must still be in the log.
-- name: lost_head
SELECT h.vin, h.seq
FROM gateway.command_checkpoint_head h
LEFT JOIN gateway.command_log l ON l.vin = h.vin AND l.seq = h.seq AND l.hash = h.hash
WHERE l.vin IS NULL AND (%(vin)s::text IS NULL OR h.vin = %(vin)s)
ORDER BY h.checkpoint_id, h.vin COLLATE "C" LIMIT 1
