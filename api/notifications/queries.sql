-- name: insert
INSERT INTO notifications.message
    (message_id, dedupe_key, channel, audience, event, customer_id, vin, activation_id, recipient,
     subject, body, state, created_at, sent_at)
VALUES (%(message_id)s, %(dedupe_key)s, %(channel)s, %(audience)s, %(event)s, %(customer_id)s,
        %(vin)s, %(activation_id)s, %(recipient)s, %(subject)s, %(body)s, %(state)s, %(at)s,
        %(sent_at)s)
ON CONFLICT ON CONSTRAINT message_once DO NOTHING;

-- name: unsent
SELECT message_id, channel, audience, recipient
FROM notifications.message WHERE dedupe_key = %(dedupe_key)s AND state = 'PENDING'
ORDER BY channel;

-- name: mark_sent
UPDATE notifications.message SET state = 'SENT', sent_at = %(at)s
WHERE message_id = %(message_id)s AND state = 'PENDING';

-- name: of_customer
SELECT message_id, event, vin, activation_id, subject, body, created_at
FROM notifications.message
WHERE customer_id = %(customer_id)s AND audience = 'customer' AND channel = 'IN_APP'
ORDER BY created_at DESC LIMIT 200;

-- name: service_name
SELECT name FROM config.service WHERE code = %(code)s;

-- name: activation
SELECT service_code, duration_days, expires_at, ticket_number
FROM ota.activation_v1 WHERE activation_id = %(activation_id)s;

-- name: purchased_service
SELECT service_code FROM services.purchase WHERE activation_id = %(activation_id)s;
