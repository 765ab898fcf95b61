-- name: insert
INSERT INTO orders.registration (order_id, vin, state, country, authority, started_at)
VALUES (%(order_id)s, %(vin)s, %(state)s, %(country)s, %(authority)s, %(at)s);

-- name: registration
SELECT order_id, vin, state, country, authority, details, attempts, case_reference, license_plate,
       registration_number, registration_date, expiry_date, certificate_url, environmental_badge,
       error_code, started_at
FROM orders.registration WHERE order_id = %(order_id)s;

-- name: by_reference
SELECT order_id FROM orders.registration
WHERE state <> 'Registered' AND (case_reference = %(reference)s OR vin = %(vin)s)
ORDER BY (case_reference = %(reference)s) DESC NULLS LAST, started_at DESC LIMIT 1;

-- name: start_again
UPDATE orders.registration
SET country = %(country)s, authority = %(authority)s, details = details || %(details)s,
    attempts = 0, case_reference = NULL, error_code = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: under_review
UPDATE orders.registration SET case_reference = %(reference)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: registered
UPDATE orders.registration
SET license_plate = %(license_plate)s, registration_number = %(registration_number)s,
    registration_date = %(registration_date)s, expiry_date = %(expiry_date)s,
    certificate_url = %(certificate_url)s, environmental_badge = %(environmental_badge)s,
    error_code = NULL, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: attempted
UPDATE orders.registration SET attempts = %(attempts)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: failed
UPDATE orders.registration SET error_code = %(error_code)s, updated_at = %(at)s
WHERE order_id = %(order_id)s;

-- name: late
SELECT order_id FROM orders.registration
WHERE started_at < %(before)s AND state <> 'Registered' AND NOT told_late
ORDER BY started_at LIMIT 100 FOR UPDATE SKIP LOCKED;

-- name: note_told
UPDATE orders.registration SET told_late = true WHERE order_id = %(order_id)s;

-- name: audit
INSERT INTO orders.registration_audit
    (at, vin, customer_id, country_code, result, license_plate, request, response, error_code)
VALUES
    (%(at)s, %(vin)s, %(customer_id)s, %(country_code)s, %(result)s, %(license_plate)s,
     %(request)s, %(response)s, %(error_code)s);
