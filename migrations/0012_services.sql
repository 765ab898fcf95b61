-- Purchases of services, what was hidden from whom, and withdrawals (DOMAIN 4, 6, 13).
-- Owner: the API. The activation itself, from QUEUED on, is the OTA engine's.

-- One attempt to buy: it has the id its activation will have.
CREATE TABLE services.purchase (
    activation_id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    vin text NOT NULL,
    service_code text NOT NULL REFERENCES config.service (code),
    tier text NOT NULL CHECK (tier IN ('DAY', 'WEEK', 'MONTH', 'QUARTER', 'PERMANENT')),
    duration_days integer CHECK (duration_days > 0),  -- null = permanent
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    starts_at timestamptz,                    -- null = at once
    payment_id uuid,
    state text NOT NULL CHECK (state IN (
        'MAINTENANCE_CHECK', 'BLOCKED', 'PURCHASABLE', 'PAYMENT', 'QUEUED')),
    refusal jsonb,                            -- {code, message, details}: what the buyer was told
    gate jsonb NOT NULL DEFAULT '{}',         -- the maintenance decision's snapshot
    idempotency_key text NOT NULL,
    request_hash text NOT NULL,
    purchased_at timestamptz NOT NULL,
    payment_started_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT purchase_idempotency UNIQUE (customer_id, idempotency_key)
);
CREATE INDEX purchase_vin ON services.purchase (vin, service_code);
-- One buyer's click at a time: a service is being paid for at most once on a car.
CREATE UNIQUE INDEX purchase_one_payment ON services.purchase (vin, service_code)
    WHERE state = 'PAYMENT';

CREATE TABLE services.purchase_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    activation_id uuid NOT NULL REFERENCES services.purchase (activation_id),
    at timestamptz NOT NULL,
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL,
    actor text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX purchase_history_of ON services.purchase_history (activation_id, id);

-- Options a customer no longer sees, and cannot buy again (DOMAIN 13, hiding policy).
CREATE TABLE services.hidden (
    customer_id uuid NOT NULL,
    service_code text NOT NULL REFERENCES config.service (code),
    at timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (customer_id, service_code)
);

-- CancellationRequest of DOMAIN 3: a withdrawal (desistimiento), granted or not.
CREATE TABLE services.cancellation_request (
    request_id uuid PRIMARY KEY,
    activation_id uuid NOT NULL REFERENCES services.purchase (activation_id),
    customer_id uuid NOT NULL,
    requested_at timestamptz NOT NULL,
    reason text,
    eligibility text NOT NULL CHECK (eligibility IN ('ELIGIBLE', 'INELIGIBLE')),
    refund_amount_minor bigint NOT NULL CHECK (refund_amount_minor >= 0),
    status text NOT NULL CHECK (status IN (
        'SUBMITTED', 'EVALUATING', 'APPROVED', 'DENIED', 'COMPLETED')),
    switched_off boolean,                     -- null: not known yet
    ticket_number text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((eligibility = 'ELIGIBLE') = (status IN ('APPROVED', 'COMPLETED')))
);
-- Granted once: asking again gives the same answer and moves no money.
CREATE UNIQUE INDEX cancellation_granted_once ON services.cancellation_request (activation_id)
    WHERE eligibility = 'ELIGIBLE';
CREATE INDEX cancellation_of ON services.cancellation_request (activation_id);

-- The workshops' last answer per car, for browsing only (DOMAIN 5: up to 10 minutes old).
CREATE TABLE services.maintenance_cache (
    vin text PRIMARY KEY,
    body jsonb NOT NULL,
    fetched_at timestamptz NOT NULL
);
