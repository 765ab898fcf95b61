-- name: insert
INSERT INTO orders.app_link (link_id, vin, customer_id, code, state, created_at, expires_at)
VALUES (%(link_id)s, %(vin)s, %(customer_id)s, %(code)s, 'PENDING', %(at)s, %(expires_at)s);

-- name: is_linked
SELECT true FROM orders.app_link
WHERE vin = %(vin)s AND customer_id = %(customer_id)s AND state = 'CONFIRMED';

-- name: pending
SELECT link_id, vin, customer_id, code, state, expires_at FROM orders.app_link
WHERE vin = %(vin)s AND state = 'PENDING' FOR UPDATE;

-- name: end_pending
UPDATE orders.app_link SET state = 'ENDED', updated_at = %(at)s
WHERE vin = %(vin)s AND state = 'PENDING';

-- name: end_confirmed
UPDATE orders.app_link SET state = 'ENDED', updated_at = %(at)s
WHERE vin = %(vin)s AND state = 'CONFIRMED';

-- name: confirm
UPDATE orders.app_link
SET state = 'CONFIRMED', confirmed_at = %(at)s, event_id = %(event_id)s, updated_at = %(at)s
WHERE link_id = %(link_id)s AND state = 'PENDING';
