-- name: insert
INSERT INTO customers.customer
    (customer_id, name, email, phone, address, tax_id, language, time_zone)
VALUES
    (%(customer_id)s, %(name)s, %(email)s, %(phone)s, %(address)s, %(tax_id)s, %(language)s,
     %(time_zone)s);

-- name: by_id
SELECT customer_id, code, name, email, phone, address, tax_id, language, time_zone
FROM customers.customer WHERE customer_id = %(customer_id)s;

-- name: dealership
SELECT dealership_id, code, name, address, authorization_number
FROM customers.dealership WHERE dealership_id = %(dealership_id)s;

-- name: set_tax_id
UPDATE customers.customer SET tax_id = %(tax_id)s, updated_at = %(at)s
WHERE customer_id = %(customer_id)s;
