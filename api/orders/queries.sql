-- name: insert_order
INSERT INTO orders.customer_order
    (order_id, customer_id, dealership_id, sold_by, status, platform, plan, total_minor,
     deposit_minor, currency, delivery_address, financing_notes, from_stock, vin, due_at, ordered_at,
     idempotency_key, request_digest)
VALUES
    (%(order_id)s, %(customer_id)s, %(dealership_id)s, %(sold_by)s, %(status)s, %(platform)s,
     %(plan)s, %(total_minor)s, %(deposit_minor)s, %(currency)s, %(delivery_address)s,
     %(financing_notes)s, %(from_stock)s, %(vin)s, %(due_at)s, %(ordered_at)s,
     %(idempotency_key)s, %(request_digest)s);

-- name: order_of_request
SELECT order_id, request_digest FROM orders.customer_order
WHERE sold_by = %(sold_by)s AND idempotency_key = %(idempotency_key)s;

-- name: lock_request
-- Two of the same request at once: the second waits, and finds the first one's order.
SELECT pg_advisory_xact_lock(
    hashtextextended(%(sold_by)s::text || %(idempotency_key)s, 0));

-- name: order
SELECT order_id, number, customer_id, dealership_id, status, platform, plan, total_minor,
       deposit_minor, currency, delivery_address, financing_notes, from_stock, vin,
       factory_order_id, factory_status, factory_status_at, factory_error,
       estimated_delivery_date, manufacturing_location, deposit_payment_id, final_payment_id,
       payment_complete, payment_open_at, final_declines, due_at, ordered_at, handed_over_at
FROM orders.customer_order WHERE order_id = %(order_id)s;

-- name: lock_order
SELECT FROM orders.customer_order WHERE order_id = %(order_id)s FOR UPDATE;

-- name: orders_of_customer
SELECT order_id FROM orders.customer_order WHERE customer_id = %(customer_id)s ORDER BY ordered_at;

-- name: orders_of_dealership
SELECT o.order_id, o.number, o.status, o.platform, o.vin, o.ordered_at, o.due_at,
       c.name AS customer_name, c.code AS customer_code
FROM orders.customer_order o JOIN customers.customer c USING (customer_id)
WHERE o.dealership_id = %(dealership_id)s
ORDER BY o.ordered_at DESC LIMIT %(limit)s;

-- name: order_by_factory_id
SELECT order_id FROM orders.customer_order WHERE factory_order_id = %(factory_order_id)s;

-- name: order_by_vin
SELECT order_id FROM orders.customer_order
WHERE vin = %(vin)s AND status NOT LIKE 'CANCELLED%%' AND status <> 'ABANDONED';

-- name: platform
SELECT code, name, engine_type, firmware_version, base_price_minor, currency
FROM config.vehicle_model WHERE code = %(code)s;

-- name: options
SELECT s.code, m.platform IS NOT NULL AS mapped, s.min_firmware
FROM config.service s
LEFT JOIN config.mapping m ON m.service_code = s.code AND m.platform = %(platform)s
WHERE s.code = ANY (%(codes)s) AND s.active;

-- name: open_payment
UPDATE orders.customer_order SET payment_open_at = %(at)s, updated_at = %(at)s
WHERE order_id = %(order_id)s AND status = %(status)s;

-- name: close_payment
UPDATE orders.customer_order SET payment_open_at = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: deposit_paid
UPDATE orders.customer_order
SET deposit_payment_id = %(payment_id)s, payment_open_at = NULL, due_at = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: final_paid
UPDATE orders.customer_order
SET final_payment_id = %(payment_id)s, payment_complete = true, payment_open_at = NULL,
    due_at = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: count_decline
UPDATE orders.customer_order
SET final_declines = final_declines + 1, payment_open_at = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s
RETURNING final_declines;

-- name: set_due
UPDATE orders.customer_order SET due_at = %(due_at)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: factory_accepted
UPDATE orders.customer_order
SET factory_order_id = %(factory_order_id)s, factory_status = %(factory_status)s,
    factory_error = NULL, estimated_delivery_date = %(estimated_delivery_date)s,
    manufacturing_location = %(manufacturing_location)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: factory_error
UPDATE orders.customer_order SET factory_error = %(error)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: insert_step
INSERT INTO orders.factory_step
    (order_id, status, at, estimated_completion_date, notes, location, received_at)
VALUES
    (%(order_id)s, %(status)s, %(at)s, %(estimated_completion_date)s, %(notes)s, %(location)s,
     %(received_at)s)
ON CONFLICT DO NOTHING;

-- name: factory_reported
UPDATE orders.customer_order
SET factory_status = %(status)s, factory_status_at = %(at)s,
    estimated_delivery_date =
        coalesce(%(estimated_completion_date)s, estimated_delivery_date),
    updated_at = %(received_at)s
WHERE order_id = %(order_id)s
  AND (factory_status_at IS NULL OR factory_status_at <= %(at)s);

-- name: insert_built_vehicle
INSERT INTO orders.vehicle
    (vin, model, firmware_version, customer_id, dealership_id, assignment_status,
     inventory_status, base_configuration, manufactured_at)
VALUES
    (%(vin)s, %(model)s, %(firmware_version)s, %(customer_id)s, %(dealership_id)s,
     'ASSIGNED_TO_CUSTOMER', 'IN_MANUFACTURING', %(base_configuration)s, %(manufactured_at)s);

-- name: set_vin
UPDATE orders.customer_order SET vin = %(vin)s, updated_at = %(at)s
WHERE order_id = %(order_id)s AND vin IS NULL;

-- name: vehicle_arrived
UPDATE orders.vehicle
SET inventory_status = 'AWAITING_DELIVERY', at_dealership_since = %(at)s, updated_at = %(at)s
WHERE vin = %(vin)s;

-- name: hold_stock
UPDATE orders.vehicle SET available_for_sale = false, updated_at = %(at)s
WHERE vin = %(vin)s AND dealership_id = %(dealership_id)s AND available_for_sale
  AND model = %(model)s;

-- name: assign_stock
UPDATE orders.vehicle
SET customer_id = %(customer_id)s, assignment_status = 'ASSIGNED_TO_CUSTOMER',
    inventory_status = 'AWAITING_DELIVERY', available_for_sale = false, updated_at = %(at)s
WHERE vin = %(vin)s;

-- name: to_stock
UPDATE orders.vehicle
SET customer_id = NULL, assignment_status = 'SIN_ASIGNAR', inventory_status = 'DEALERSHIP_STOCK',
    available_for_sale = true, updated_at = %(at)s
WHERE vin = %(vin)s;

-- name: clear_vin
UPDATE orders.customer_order SET vin = NULL, due_at = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: handed_over
UPDATE orders.customer_order SET handed_over_at = %(at)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: vehicle_left
UPDATE orders.vehicle SET inventory_status = NULL, updated_at = %(at)s WHERE vin = %(vin)s;

-- name: overdue
SELECT order_id FROM orders.customer_order
WHERE due_at <= %(now)s AND status = ANY (%(statuses)s)
  AND (payment_open_at IS NULL OR payment_open_at <= %(open_before)s)
ORDER BY due_at LIMIT 100
FOR UPDATE SKIP LOCKED;

-- name: steps
SELECT status, at, estimated_completion_date, notes, location
FROM orders.factory_step WHERE order_id = %(order_id)s ORDER BY at, received_at;

-- name: history
SELECT machine, at, from_state, event, to_state, detail
FROM orders.history WHERE order_id = %(order_id)s ORDER BY id;

-- name: inventory
SELECT v.vin, v.model, v.firmware_version, v.assignment_status, v.inventory_status,
       v.available_for_sale, v.at_dealership_since, v.manufactured_at,
       o.order_id, o.number AS order_number, o.status AS order_status
FROM orders.vehicle v
LEFT JOIN orders.customer_order o ON o.vin = v.vin AND o.status NOT LIKE 'CANCELLED%%'
WHERE v.dealership_id = %(dealership_id)s AND v.inventory_status IS NOT NULL
ORDER BY v.inventory_status, v.vin;

-- name: note_decline
INSERT INTO orders.declined_payment (payment_id, order_id) VALUES (%(payment_id)s, %(order_id)s)
ON CONFLICT DO NOTHING;
