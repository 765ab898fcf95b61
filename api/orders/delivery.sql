-- name: insert
INSERT INTO orders.delivery (order_id, vin, mode, state, address)
VALUES (%(order_id)s, %(vin)s, %(mode)s, %(state)s, %(address)s);

-- name: delivery
SELECT order_id, vin, mode, state, transport_company, driver, scheduled_at, attempts,
       failure_reason, pickup_since
FROM orders.delivery WHERE order_id = %(order_id)s;

-- name: set_transport
UPDATE orders.delivery
SET transport_company = coalesce(%(transport_company)s, transport_company),
    driver = coalesce(%(driver)s, driver), scheduled_at = coalesce(%(scheduled_at)s, scheduled_at),
    mode = %(mode)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: new_attempt
WITH counted AS (
    UPDATE orders.delivery SET attempts = attempts + 1, updated_at = %(at)s
    WHERE order_id = %(order_id)s
    RETURNING order_id, vin, attempts, transport_company
)
INSERT INTO orders.delivery_attempt
    (vin, order_id, attempt_number, attempted_at, transport_company)
SELECT vin, order_id, attempts, %(at)s, transport_company FROM counted;

-- name: end_attempt
WITH ended AS (
    UPDATE orders.delivery
    SET failure_reason = CASE WHEN %(outcome)s = 'SUCCESS' THEN NULL ELSE %(outcome)s END,
        updated_at = %(at)s
    WHERE order_id = %(order_id)s
    RETURNING order_id, attempts
)
UPDATE orders.delivery_attempt a SET outcome = %(outcome)s, notes = %(notes)s
FROM ended WHERE a.order_id = ended.order_id AND a.attempt_number = ended.attempts;

-- name: waits_for_pickup
UPDATE orders.delivery SET pickup_since = %(at)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;
