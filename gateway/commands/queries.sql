-- The command log.

-- name: save_answer
UPDATE gateway.command_log SET
    last_result = %(result)s, last_reason = %(reason)s, answered_at = %(at)s
WHERE command_id = %(command_id)s AND vin = %(vin)s
  AND (answered_at IS NULL OR answered_at <= %(at)s)
