-- name: insert_dealership
INSERT INTO customers.dealership (dealership_id, code, name, address, authorization_number)
VALUES (%(dealership_id)s, %(code)s, %(name)s, %(address)s, %(authorization_number)s)
ON CONFLICT (code) DO NOTHING;

-- name: dealership_id
SELECT dealership_id FROM customers.dealership WHERE code = %(code)s;

-- name: insert_employee
INSERT INTO customers.employee (employee_id, dealership_id, role, name, email, valid_from)
VALUES (%(employee_id)s, %(dealership_id)s, %(role)s, %(name)s, %(email)s, %(now)s);
