-- name: vehicle
SELECT presence, last_seen_at, operational, signal_pct, firmware, status, status_at
FROM gateway.vehicle_v1 WHERE vin = %(vin)s;

-- name: linked
SELECT true FROM orders.app_link
WHERE vin = %(vin)s AND customer_id = %(customer_id)s AND state = 'CONFIRMED';

-- name: activations
SELECT activation_id AS "activationId", service_code AS "service", origin, state,
       activated_at AS "activatedAt", expires_at AS "expiresAt", charged
FROM ota.activation_v1 WHERE vin = %(vin)s ORDER BY purchased_at DESC;
