-- name: take
INSERT INTO orders.webhook_inbox (source, message_id, received_at, body)
VALUES (%(source)s, %(message_id)s, %(at)s, %(body)s)
ON CONFLICT DO NOTHING;
