-- name: user_by_username
SELECT u.user_id, u.username, u.role, u.customer_id, u.employee_id, u.password_hash,
       e.dealership_id, e.valid_from, e.valid_until
FROM customers.user_account u LEFT JOIN customers.employee e USING (employee_id)
WHERE u.username = %(username)s;

-- name: user_by_id
SELECT u.user_id, u.username, u.role, u.customer_id, u.employee_id, u.password_hash,
       e.dealership_id, e.valid_from, e.valid_until
FROM customers.user_account u LEFT JOIN customers.employee e USING (employee_id)
WHERE u.user_id = %(user_id)s;

-- name: user_of_customer
SELECT user_id FROM customers.user_account WHERE customer_id = %(customer_id)s;

-- name: insert_user
INSERT INTO customers.user_account
    (user_id, username, role, customer_id, employee_id, password_hash, activated_at)
VALUES
    (%(user_id)s, %(username)s, %(role)s, %(customer_id)s, %(employee_id)s, %(password_hash)s,
     %(activated_at)s);

-- name: store_credentials
UPDATE customers.user_account
SET password_hash = %(password_hash)s, activation_hash = %(activation_hash)s,
    activation_until = %(activation_until)s, credentials_sent_at = %(now)s, updated_at = %(now)s
WHERE user_id = %(user_id)s AND activated_at IS NULL
RETURNING username;

-- name: activate
UPDATE customers.user_account
SET activated_at = %(now)s, activation_hash = NULL, activation_until = NULL,
    password_hash = coalesce(%(password_hash)s, password_hash), updated_at = %(now)s
WHERE activation_hash = %(activation_hash)s AND activation_until > %(now)s
RETURNING user_id;

-- name: insert_refresh
INSERT INTO customers.refresh_token (token_hash, family_id, user_id, expires_at)
VALUES (%(token_hash)s, %(family_id)s, %(user_id)s, %(expires_at)s);

-- name: use_refresh
UPDATE customers.refresh_token SET used_at = %(now)s
WHERE token_hash = %(token_hash)s AND used_at IS NULL AND expires_at > %(now)s
RETURNING family_id, user_id;

-- name: end_family_of
DELETE FROM customers.refresh_token
WHERE family_id = (
    SELECT family_id FROM customers.refresh_token
    WHERE token_hash = %(token_hash)s AND used_at IS NOT NULL);

-- name: forget_refresh
DELETE FROM customers.refresh_token WHERE expires_at < %(now)s;
