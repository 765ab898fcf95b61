-- The gateway's own commands.

-- name: admit
SELECT outcome, seq, retry_after_s FROM gateway.admit_command_v1(
    %(command_id)s, %(vin)s, %(kind)s, %(source)s, %(service)s, %(content)s, %(now)s, %(quota)s)

-- name: insert
INSERT INTO gateway.command (command_id, vin, seq, kind, source, state, body, issued_at, due_at,
    publish_after)
VALUES (%(command_id)s, %(vin)s, %(seq)s, %(kind)s, %(source)s, 'QUEUED', %(body)s, %(issued_at)s,
    %(due_at)s, %(issued_at)s)

-- name: in_flight
SELECT EXISTS (SELECT FROM gateway.command
    WHERE vin = %(vin)s AND kind = 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS'))

-- name: claim
WITH due AS (
    SELECT command_id FROM gateway.command
    WHERE state = 'QUEUED' AND publish_after <= %(now)s
    ORDER BY publish_after, seq
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE gateway.command c SET publish_after = %(next_try)s
    FROM due WHERE c.command_id = due.command_id
    RETURNING c.body, c.seq
)
SELECT body FROM claimed ORDER BY seq

-- name: mark_published
UPDATE gateway.command SET state = 'IN_PROGRESS', published_at = %(now)s
WHERE command_id = ANY(%(ids)s) AND state = 'QUEUED'

-- name: open_of
SELECT command_id, seq, kind, body->'values' AS wanted
FROM gateway.command
WHERE vin = %(vin)s AND state IN ('QUEUED', 'IN_PROGRESS')
ORDER BY seq

-- name: note_answer
UPDATE gateway.command SET last_result = %(result)s
WHERE command_id = %(command_id)s AND state IN ('QUEUED', 'IN_PROGRESS')

-- name: end
UPDATE gateway.command SET state = %(state)s, completed_at = %(now)s, error_code = %(error_code)s
WHERE command_id = ANY(%(ids)s) AND state = ANY(%(sources)s)
RETURNING command_id, vin, state, error_code, completed_at

-- name: overdue
SELECT command_id FROM gateway.command
WHERE state IN ('QUEUED', 'IN_PROGRESS') AND due_at <= %(now)s
ORDER BY due_at LIMIT %(batch)s
FOR UPDATE SKIP LOCKED

-- Soon over, and not asked yet whether it is done.
-- name: unanswered
SELECT c.vin, c.due_at FROM gateway.command c
WHERE c.state = 'IN_PROGRESS' AND c.kind = 'CONFIGURE' AND c.due_at > %(now)s
  AND c.due_at - least(%(lead_s)s * interval '1 second', (c.due_at - c.issued_at) / 2) <= %(now)s
  AND NOT EXISTS (
    SELECT FROM gateway.command q WHERE q.vin = c.vin AND q.seq > c.seq AND q.kind = 'QUERY')
ORDER BY c.vin LIMIT %(batch)s
FOR UPDATE OF c SKIP LOCKED

-- name: count_by_state
SELECT state, count(*) AS commands FROM gateway.command
WHERE state IN ('QUEUED', 'IN_PROGRESS') GROUP BY state

-- name: listen
LISTEN gateway_commands
