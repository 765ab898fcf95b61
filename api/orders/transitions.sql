-- name: move_order
WITH old AS (
    SELECT order_id, status AS state FROM orders.customer_order
    WHERE order_id = %(order_id)s FOR UPDATE
), moved AS (
    UPDATE orders.customer_order t SET status = %(target)s, updated_at = %(at)s
    FROM old WHERE t.order_id = old.order_id AND t.status = ANY (%(sources)s)
    RETURNING t.order_id, old.state
)
INSERT INTO orders.history (order_id, machine, at, from_state, event, to_state, actor, detail)
SELECT order_id, 'order', %(at)s, state, %(event)s, %(target)s, %(actor)s, %(detail)s FROM moved;

-- name: state_of_order
SELECT status FROM orders.customer_order WHERE order_id = %(order_id)s;

-- name: move_registration
WITH old AS (
    SELECT order_id, state AS state FROM orders.registration
    WHERE order_id = %(order_id)s FOR UPDATE
), moved AS (
    UPDATE orders.registration t SET state = %(target)s, updated_at = %(at)s
    FROM old WHERE t.order_id = old.order_id AND t.state = ANY (%(sources)s)
    RETURNING t.order_id, old.state
)
INSERT INTO orders.history (order_id, machine, at, from_state, event, to_state, actor, detail)
SELECT order_id, 'registration', %(at)s, state, %(event)s, %(target)s, %(actor)s, %(detail)s FROM moved;

-- name: state_of_registration
SELECT state FROM orders.registration WHERE order_id = %(order_id)s;

-- name: move_delivery
WITH old AS (
    SELECT order_id, state AS state FROM orders.delivery
    WHERE order_id = %(order_id)s FOR UPDATE
), moved AS (
    UPDATE orders.delivery t SET state = %(target)s, updated_at = %(at)s
    FROM old WHERE t.order_id = old.order_id AND t.state = ANY (%(sources)s)
    RETURNING t.order_id, old.state
)
INSERT INTO orders.history (order_id, machine, at, from_state, event, to_state, actor, detail)
SELECT order_id, 'delivery', %(at)s, state, %(event)s, %(target)s, %(actor)s, %(detail)s FROM moved;

-- name: state_of_delivery
SELECT state FROM orders.delivery WHERE order_id = %(order_id)s;

-- name: note_start
INSERT INTO orders.history (order_id, machine, at, from_state, event, to_state, actor)
VALUES (%(order_id)s, %(machine)s, %(at)s, '', 'STARTED', %(state)s, %(actor)s);
