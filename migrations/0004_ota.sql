-- Activations, deliveries, attempts, commands (DOMAIN 6 and 7) and tickets. Owner: the OTA engine.

-- The business side: one sold (or planned) service on one car, and what became of it.
CREATE TABLE ota.activation (
    activation_id uuid PRIMARY KEY,
    vin text NOT NULL,
    service_code text NOT NULL,
    origin text NOT NULL CHECK (origin IN ('PURCHASE', 'PLAN', 'SUBSCRIPTION')),
    customer_id uuid,
    payment_id uuid,
    order_id uuid,
    state text NOT NULL,
    paid boolean NOT NULL,                    -- money is held for it; false for plan options
    duration_days integer CHECK (duration_days > 0),  -- null = permanent or open-ended
    starts_at timestamptz,
    purchased_at timestamptz NOT NULL,
    queued_at timestamptz,
    activated_at timestamptz,
    expires_at timestamptz,
    cancelled_at timestamptz,
    total_attempts integer NOT NULL DEFAULT 0,
    ticket_id uuid,
    final_result text CHECK (final_result IN ('ACTIVE', 'FAILED_NO_CHARGE', 'MANUAL_ACTIVATION')),
    charged boolean NOT NULL DEFAULT false,
    reason text,                              -- why the last change happened, in a code
    release_ordered_at timestamptz,           -- from here on a late success comes too late
    withdrawn boolean NOT NULL DEFAULT false, -- the worker waits for ActivationClosed
    expiry_notified boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX activation_vin ON ota.activation (vin, service_code);
CREATE INDEX activation_customer ON ota.activation (customer_id);
CREATE INDEX activation_due ON ota.activation (starts_at) WHERE state = 'SCHEDULED';
CREATE INDEX activation_expiry ON ota.activation (expires_at)
    WHERE state IN ('ACTIVE', 'CANCELLED_NO_REFUND');
-- A service is on at most once on a car.
CREATE UNIQUE INDEX activation_one_active ON ota.activation (vin, service_code) WHERE state = 'ACTIVE';

CREATE TABLE ota.activation_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    activation_id uuid NOT NULL REFERENCES ota.activation (activation_id),
    at timestamptz NOT NULL,
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL,
    cause text,
    actor text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX activation_history_of ON ota.activation_history (activation_id, id);

-- The technical side: bringing one car to wanted values, ON (the service) or OFF (its end), with
-- its attempts. An activation has one ON delivery (and one more for each retry by hand) and later
-- an OFF delivery.
CREATE TABLE ota.delivery (
    delivery_id uuid PRIMARY KEY,
    activation_id uuid NOT NULL REFERENCES ota.activation (activation_id),
    vin text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('ON', 'OFF')),
    wanted jsonb NOT NULL,                    -- [{module, parameter, value}] that proves it
    revert jsonb NOT NULL,
    safe_state text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'WAITING',        -- for its turn (one per VIN), its timer, or the quota
        'CHECKING',       -- attempt open, the vehicle is not ready yet
        'COMMANDED',      -- attempt open, a CONFIGURE is out
        'QUERYING',       -- attempt open, its time is over, the vehicle is asked once more
        'DEFERRED',       -- the vehicle waits for its safe state; no attempt is used up
        'DIAGNOSING',     -- given up; the vehicle is asked once more for the ticket
        'DONE', 'FAILED', 'ABANDONED')),
    retries integer NOT NULL DEFAULT 0,
    max_retries integer NOT NULL,
    due_at timestamptz,                       -- when the engine must look again; null = final
    safe_state_by timestamptz,                -- end of the wait for the safe state
    check_until timestamptz,                  -- end of the wait for the vehicle in CHECKING
    deferred_at timestamptz,                  -- the vehicle's own time of its DEFERRED
    phase text CHECK (phase IN ('OFF', 'AGAIN')),  -- of the one off/on cycle; null = none yet
    command_id uuid,                          -- the CONFIGURE that is out
    first_seq bigint,                         -- number of the first CONFIGURE of all
    proof_seq bigint,                         -- a report from this number on can prove
    applied boolean NOT NULL DEFAULT false,   -- the CONFIGURE was answered with APPLIED
    shown boolean NOT NULL DEFAULT false,     -- some wanted values were there at the last report
    query_id uuid,
    queried_at timestamptz,                   -- when this attempt's QUERY went out
    attempt integer NOT NULL DEFAULT 0,       -- number of the last attempt
    attempt_open boolean NOT NULL DEFAULT false,
    last_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX delivery_one_per_direction ON ota.delivery (activation_id, direction)
    WHERE state NOT IN ('DONE', 'FAILED', 'ABANDONED');
CREATE INDEX delivery_of ON ota.delivery (activation_id, direction);
-- One at a time per car.
CREATE UNIQUE INDEX delivery_one_in_flight ON ota.delivery (vin)
    WHERE state IN ('CHECKING', 'COMMANDED', 'QUERYING', 'DEFERRED');
CREATE INDEX delivery_due ON ota.delivery (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_vin ON ota.delivery (vin) WHERE due_at IS NOT NULL;

CREATE TABLE ota.attempt (
    activation_id uuid NOT NULL REFERENCES ota.activation (activation_id),
    delivery_id uuid NOT NULL REFERENCES ota.delivery (delivery_id),
    attempt_number integer NOT NULL CHECK (attempt_number >= 1),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    snapshot jsonb NOT NULL DEFAULT '{}',     -- the vehicle at the start
    command_id uuid,
    response_code text,
    response_message text,
    result text CHECK (result IN ('SUCCESS', 'FAILED_RETRY', 'FAILED_ESCALATE')),
    PRIMARY KEY (delivery_id, attempt_number)
);

CREATE TABLE ota.command (
    command_id uuid PRIMARY KEY,
    vin text NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONFIGURE', 'QUERY', 'TEST', 'DISPLAY')),
    activation_id uuid REFERENCES ota.activation (activation_id),
    delivery_id uuid REFERENCES ota.delivery (delivery_id),
    state text NOT NULL CHECK (state IN ('QUEUED', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
    body jsonb NOT NULL,                      -- the Command as signed
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    publish_after timestamptz NOT NULL,       -- still QUEUED then: publish it (again)
    published_at timestamptz,
    answered_at timestamptz,
    answer_at timestamptz,                    -- the vehicle's own time of its answer
    result text,
    reason text,
    completed_at timestamptz,
    UNIQUE (vin, seq)
);
CREATE INDEX command_unpublished ON ota.command (publish_after) WHERE state = 'QUEUED';
CREATE INDEX command_unanswered ON ota.command (expires_at)
    WHERE kind <> 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS');
CREATE INDEX command_of ON ota.command (delivery_id, seq);
-- At most one configuration command in flight per VIN.
CREATE UNIQUE INDEX command_one_in_flight ON ota.command (vin)
    WHERE kind = 'CONFIGURE' AND state IN ('QUEUED', 'IN_PROGRESS');

CREATE SEQUENCE support.ticket_number START 1001;
CREATE TABLE support.ticket (
    ticket_id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE DEFAULT 'TCK-' || nextval('support.ticket_number'),
    activation_id uuid NOT NULL,
    vin text NOT NULL,
    customer_id uuid,
    service_code text NOT NULL,
    payment_id uuid,
    kind text NOT NULL CHECK (kind IN ('ACTIVATION', 'SWITCH_OFF')),
    priority text NOT NULL CHECK (priority IN ('HIGH', 'MEDIUM')),
    state text NOT NULL DEFAULT 'OPEN' CHECK (state IN (
        'OPEN', 'IN_PROGRESS', 'RESOLVED_ACTIVATED', 'RESOLVED_PERMANENT_FAILURE', 'CLOSED')),
    error_code text,
    error_message text,
    package jsonb NOT NULL,                   -- the whole case: attempts, snapshot, payload tried
    first_contact_due timestamptz NOT NULL,
    resolution_due timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ticket_one_per_activation ON support.ticket (activation_id, kind);

CREATE VIEW ota.activation_v1 AS
    SELECT a.activation_id, a.vin, a.service_code, a.origin, a.customer_id, a.payment_id,
           a.order_id, a.state, a.paid, a.duration_days, a.starts_at, a.purchased_at, a.queued_at,
           a.activated_at, a.expires_at, a.cancelled_at, a.total_attempts, a.ticket_id,
           t.number AS ticket_number, a.final_result, a.charged, a.reason, a.updated_at,
           off.state AS switch_off_state      -- null: none was ordered; DONE: the car proved it
    FROM ota.activation a
    LEFT JOIN support.ticket t ON t.ticket_id = a.ticket_id
    LEFT JOIN LATERAL (
        SELECT d.state FROM ota.delivery d
        WHERE d.activation_id = a.activation_id AND d.direction = 'OFF'
        ORDER BY d.created_at DESC LIMIT 1
    ) off ON true;
CREATE VIEW ota.activation_history_v1 AS
    SELECT id, activation_id, at, from_state, event, to_state, cause, actor, detail
    FROM ota.activation_history;
CREATE VIEW ota.attempt_v1 AS
    SELECT a.activation_id, d.direction, a.attempt_number, a.started_at, a.ended_at, a.snapshot,
           a.command_id, a.response_code, a.response_message, a.result
    FROM ota.attempt a JOIN ota.delivery d USING (delivery_id);
CREATE VIEW support.ticket_v1 AS
    SELECT ticket_id, number, activation_id, vin, customer_id, service_code, payment_id, kind,
           priority, state, error_code, error_message, package, first_contact_due, resolution_due,
           created_at, updated_at
    FROM support.ticket;
GRANT SELECT ON ota.activation_v1, ota.activation_history_v1, ota.attempt_v1, support.ticket_v1
    TO caas_api, caas_gateway, caas_telemetry;
