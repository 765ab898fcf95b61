-- Payments, refunds and invoices (DOMAIN 11, 13, 14). Owner: the API and its worker.
-- Money is whole minor units. A card number never comes near this: the token is the gateway's.

CREATE TABLE billing.payment (
    payment_id uuid PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('RESERVATION', 'FINAL', 'SERVICE', 'SUBSCRIPTION')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    customer_id uuid NOT NULL,
    target uuid NOT NULL,                     -- the order, or the activation, it is for
    payment_token text NOT NULL,
    idempotency_key text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'INITIATED', 'PROCESSING', 'FAILED', 'ABANDONED', 'CONFIRMED', 'AUTHORIZED', 'VOIDED',
        'CAPTURED', 'SETTLED', 'SETTLEMENT_FAILED', 'SETTLEMENT_TIMEOUT', 'REFUNDING', 'REFUNDED',
        'CHARGEBACK')),
    gateway_tx_id text UNIQUE,
    error_code text,
    description text NOT NULL DEFAULT '',     -- the line of its invoice
    document jsonb NOT NULL DEFAULT '{}',     -- what the invoice refers to: order, VIN, …
    check_at timestamptz,                     -- when its fate is asked for again; null = known
    settled_amount_minor bigint,
    settled_at timestamptz,
    bank_transaction_id text,
    fees_minor bigint,
    failure_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT payment_idempotency UNIQUE (customer_id, idempotency_key),
    CHECK ((state = 'PROCESSING') = (check_at IS NOT NULL)),
    -- A hold is for services, a charge at once for vehicles.
    CHECK (NOT (type = 'SERVICE' AND state = 'CONFIRMED')),
    CHECK (NOT (type IN ('RESERVATION', 'FINAL') AND state IN ('AUTHORIZED', 'VOIDED', 'CAPTURED')))
);
CREATE INDEX payment_unknown ON billing.payment (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX payment_newest ON billing.payment (created_at, payment_id);
CREATE INDEX payment_target ON billing.payment (target);
-- A deposit, a final price, a service is never paid twice.
CREATE UNIQUE INDEX payment_one_live ON billing.payment (target, type)
    WHERE state NOT IN ('FAILED', 'ABANDONED', 'VOIDED', 'REFUNDED')
    AND type <> 'SUBSCRIPTION';

CREATE TABLE billing.payment_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES billing.payment (payment_id),
    at timestamptz NOT NULL,
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL,
    actor text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX payment_history_of ON billing.payment_history (payment_id, id);
-- Captured at most once, and never both captured and voided.
CREATE UNIQUE INDEX payment_captured_or_voided_once ON billing.payment_history (payment_id)
    WHERE to_state IN ('CAPTURED', 'VOIDED');

CREATE TABLE billing.refund (
    refund_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES billing.payment (payment_id),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    reason text NOT NULL,
    gateway_refund_id text UNIQUE,            -- null until the gateway has taken the order
    state text NOT NULL CHECK (state IN ('PENDING', 'COMPLETED', 'DENIED')),
    requested_at timestamptz NOT NULL,
    completed_at timestamptz
);
CREATE INDEX refund_without_number ON billing.refund (requested_at)
    WHERE gateway_refund_id IS NULL;
-- All or nothing (DOMAIN 13), so one refund a payment.
CREATE UNIQUE INDEX refund_once ON billing.refund (payment_id);

-- Numbers without a gap: the row is locked until the invoice that took the number commits.
CREATE TABLE billing.invoice_series (
    series text PRIMARY KEY,                  -- INV-2026, CRN-2026
    last_number bigint NOT NULL DEFAULT 0
);

CREATE TABLE billing.invoice (
    invoice_id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE,
    type text NOT NULL CHECK (type IN (
        'RESERVATION', 'FINAL', 'SERVICE', 'SUBSCRIPTION', 'CREDIT_NOTE')),
    payment_id uuid NOT NULL REFERENCES billing.payment (payment_id),
    customer_id uuid NOT NULL,
    original_invoice_id uuid REFERENCES billing.invoice (invoice_id),
    currency text NOT NULL,
    total_minor bigint NOT NULL,              -- negative on a credit note
    net_minor bigint NOT NULL,
    vat_minor bigint NOT NULL,
    vat_percent numeric(5, 2) NOT NULL,
    country text NOT NULL,
    status text NOT NULL CHECK (status IN ('PAID', 'UNPAID')),
    issued_at timestamptz NOT NULL,
    due_date date NOT NULL,
    lines jsonb NOT NULL,                     -- [{text, amount_minor}]
    refs jsonb NOT NULL DEFAULT '{}',
    CHECK (net_minor + vat_minor = total_minor),
    CHECK ((type = 'CREDIT_NOTE') = (original_invoice_id IS NOT NULL))
);
CREATE UNIQUE INDEX invoice_once ON billing.invoice (payment_id) WHERE type <> 'CREDIT_NOTE';
CREATE UNIQUE INDEX credit_note_once ON billing.invoice (original_invoice_id)
    WHERE type = 'CREDIT_NOTE';
CREATE INDEX invoice_customer ON billing.invoice (customer_id, issued_at);
