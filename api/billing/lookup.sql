-- name: payments_of
SELECT payment_id AS "paymentId", type, amount_minor AS "amountMinor", currency, target, state,
       description, created_at AS "createdAt"
FROM billing.payment WHERE customer_id = %(customer_id)s ORDER BY created_at DESC;

-- name: invoices_of
SELECT invoice_id AS "invoiceId", number, type, total_minor AS "totalMinor", currency, status,
       issued_at AS "issuedAt"
FROM billing.invoice WHERE customer_id = %(customer_id)s ORDER BY issued_at DESC;
