-- name: has_purchase
SELECT EXISTS (SELECT FROM orders.customer_order WHERE customer_id = %(customer_id)s)
    OR EXISTS (SELECT FROM orders.vehicle WHERE customer_id = %(customer_id)s);

-- name: owned_vehicle
SELECT v.vin, v.model, v.firmware_version, m.engine_type, v.customer_id, v.dealership_id,
       o.order_id, o.status AS order_status, o.plan
FROM orders.vehicle v
JOIN config.vehicle_model m ON m.code = v.model
LEFT JOIN orders.customer_order o ON o.vin = v.vin AND o.customer_id = v.customer_id
    AND o.status NOT LIKE 'CANCELLED%%'
WHERE v.vin = %(vin)s AND v.customer_id = %(customer_id)s;

-- name: vehicles_of
SELECT v.vin, v.model, v.firmware_version, m.engine_type, v.customer_id, v.dealership_id,
       o.order_id, o.status AS order_status, o.plan
FROM orders.vehicle v
JOIN config.vehicle_model m ON m.code = v.model
LEFT JOIN orders.customer_order o ON o.vin = v.vin AND o.customer_id = v.customer_id
    AND o.status NOT LIKE 'CANCELLED%%'
WHERE v.customer_id = %(customer_id)s
ORDER BY v.created_at;
