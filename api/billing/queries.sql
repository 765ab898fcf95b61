-- name: insert_payment
INSERT INTO billing.payment
    (payment_id, type, amount_minor, currency, customer_id, target, payment_token,
     idempotency_key, state, description, document, created_at, updated_at)
VALUES (%(payment_id)s, %(type)s, %(amount_minor)s, %(currency)s, %(customer_id)s, %(target)s,
        %(payment_token)s, %(idempotency_key)s, 'INITIATED', %(description)s, %(document)s::jsonb,
        %(at)s, %(at)s);

-- name: payment
SELECT payment_id, type, amount_minor, currency, customer_id, target, payment_token,
       idempotency_key, state, gateway_tx_id, error_code, description, document, created_at
FROM billing.payment WHERE payment_id = %(payment_id)s;

-- name: lock_payment
SELECT payment_id, type, amount_minor, currency, customer_id, target, payment_token,
       idempotency_key, state, gateway_tx_id, error_code, description, document, created_at
FROM billing.payment WHERE payment_id = %(payment_id)s FOR UPDATE;

-- name: payment_by_key
SELECT payment_id, type, amount_minor, currency, customer_id, target, payment_token,
       idempotency_key, state, gateway_tx_id, error_code, description, document, created_at
FROM billing.payment
WHERE customer_id = %(customer_id)s AND idempotency_key = %(idempotency_key)s;

-- name: payment_by_gateway_tx
SELECT payment_id, type, amount_minor, currency, customer_id, target, payment_token,
       idempotency_key, state, gateway_tx_id, error_code, description, document, created_at
FROM billing.payment WHERE gateway_tx_id = %(gateway_tx_id)s;

-- name: move_payment
WITH old AS (
    SELECT payment_id, state FROM billing.payment
    WHERE payment_id = %(payment_id)s AND state = ANY(%(sources)s) FOR UPDATE
), moved AS (
    UPDATE billing.payment p SET
        state = %(target)s,
        gateway_tx_id = coalesce(%(gateway_tx_id)s::text, p.gateway_tx_id),
        error_code = %(error_code)s::text,
        check_at = %(check_at)s::timestamptz,
        updated_at = %(at)s
    FROM old WHERE p.payment_id = old.payment_id
    RETURNING p.payment_id
)
INSERT INTO billing.payment_history
    (payment_id, at, from_state, event, to_state, actor, detail)
SELECT old.payment_id, %(at)s, old.state, %(event)s, %(target)s, %(actor)s, %(detail)s::jsonb
FROM old JOIN moved USING (payment_id);

-- name: note_pending
UPDATE billing.payment SET
    gateway_tx_id = coalesce(%(gateway_tx_id)s::text, gateway_tx_id),
    check_at = %(check_at)s, updated_at = %(at)s
WHERE payment_id = %(payment_id)s AND state = 'PROCESSING';

-- name: claim_unknown
UPDATE billing.payment SET check_at = %(next_check)s
WHERE payment_id IN (
    SELECT payment_id FROM billing.payment
    WHERE check_at <= %(now)s
    ORDER BY check_at LIMIT 100
    FOR UPDATE SKIP LOCKED
)
RETURNING payment_id;

-- name: settle
UPDATE billing.payment SET
    settled_amount_minor = %(amount_minor)s, settled_at = %(at)s,
    bank_transaction_id = %(bank_transaction_id)s, fees_minor = %(fees_minor)s,
    failure_reason = %(failure_reason)s
WHERE payment_id = %(payment_id)s;

-- name: insert_refund
INSERT INTO billing.refund
    (refund_id, payment_id, amount_minor, currency, reason, state, requested_at)
VALUES (%(refund_id)s, %(payment_id)s, %(amount_minor)s, %(currency)s, %(reason)s, 'PENDING',
        %(at)s);

-- name: refund_of
SELECT refund_id, payment_id, amount_minor, currency, reason, gateway_refund_id, state
FROM billing.refund WHERE payment_id = %(payment_id)s;

-- name: refund_by_gateway_id
SELECT refund_id, payment_id, amount_minor, currency, reason, gateway_refund_id, state
FROM billing.refund WHERE gateway_refund_id = %(gateway_refund_id)s;

-- name: refund_without_number
SELECT EXISTS (SELECT FROM billing.refund WHERE gateway_refund_id IS NULL);

-- name: accept_refund
UPDATE billing.refund SET gateway_refund_id = %(gateway_refund_id)s
WHERE refund_id = %(refund_id)s AND gateway_refund_id IS NULL;

-- name: end_refund
UPDATE billing.refund SET state = %(state)s, completed_at = %(at)s
WHERE refund_id = %(refund_id)s AND state = 'PENDING';

-- name: next_invoice_number
INSERT INTO billing.invoice_series AS s (series, last_number) VALUES (%(series)s, 1)
ON CONFLICT (series) DO UPDATE SET last_number = s.last_number + 1
RETURNING last_number;

-- name: insert_invoice
INSERT INTO billing.invoice
    (invoice_id, number, type, payment_id, customer_id, original_invoice_id, currency,
     total_minor, net_minor, vat_minor, vat_percent, country, status, issued_at, due_date, lines,
     refs)
VALUES (%(invoice_id)s, %(number)s, %(type)s, %(payment_id)s, %(customer_id)s,
        %(original_invoice_id)s, %(currency)s, %(total_minor)s, %(net_minor)s, %(vat_minor)s,
        %(vat_percent)s, %(country)s, %(status)s, %(issued_at)s, %(due_date)s, %(lines)s::jsonb,
        %(refs)s::jsonb);

-- name: invoice
SELECT invoice_id, number, type, payment_id, customer_id, original_invoice_id, currency,
       total_minor, net_minor, vat_minor, vat_percent, country, status, issued_at, due_date,
       lines, refs
FROM billing.invoice WHERE invoice_id = %(invoice_id)s;

-- name: invoice_of_payment
SELECT invoice_id, number, type, payment_id, customer_id, original_invoice_id, currency,
       total_minor, net_minor, vat_minor, vat_percent, country, status, issued_at, due_date,
       lines, refs
FROM billing.invoice WHERE payment_id = %(payment_id)s AND type <> 'CREDIT_NOTE';

-- name: invoices_of_customer
SELECT invoice_id, number, type, payment_id, customer_id, original_invoice_id, currency,
       total_minor, net_minor, vat_minor, vat_percent, country, status, issued_at, due_date,
       lines, refs
FROM billing.invoice WHERE customer_id = %(customer_id)s
ORDER BY issued_at DESC, number DESC LIMIT 200;

-- name: payments_list
SELECT payment_id, type, amount_minor, currency, customer_id, target, state, error_code,
       gateway_tx_id, created_at, updated_at, settled_amount_minor, settled_at, fees_minor,
       failure_reason
FROM billing.payment
WHERE (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY created_at DESC, payment_id DESC LIMIT %(limit)s;

-- name: payment_sums
SELECT state, currency, count(*) AS payments, sum(amount_minor)::bigint AS amount_minor
FROM billing.payment GROUP BY state, currency ORDER BY state, currency;
