-- The vehicle's own sale (DOMAIN 10): orders, vehicles, registration, delivery, app links, and the
-- inbox of webhooks (DOMAIN 17). Owner: the API.

CREATE TABLE orders.vehicle (
    vin text PRIMARY KEY CHECK (vin ~ '^[A-HJ-NPR-Z0-9]{17}$'),
    model text NOT NULL REFERENCES config.vehicle_model (code),
    firmware_version text NOT NULL,
    transport text NOT NULL DEFAULT 'mqtt' CHECK (transport IN ('mqtt', 'iot_api')),
    customer_id uuid REFERENCES customers.customer (customer_id),
    dealership_id uuid NOT NULL REFERENCES customers.dealership (dealership_id),
    assignment_status text NOT NULL
        CHECK (assignment_status IN ('ASSIGNED_TO_CUSTOMER', 'SIN_ASIGNAR')),
    -- null once the car has left the dealership for good
    inventory_status text
        CHECK (inventory_status IN ('IN_MANUFACTURING', 'AWAITING_DELIVERY', 'DEALERSHIP_STOCK')),
    available_for_sale boolean NOT NULL DEFAULT false,
    base_configuration jsonb NOT NULL DEFAULT '{}',
    at_dealership_since timestamptz,
    manufactured_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((assignment_status = 'SIN_ASIGNAR') = (customer_id IS NULL)),
    CHECK (NOT available_for_sale OR customer_id IS NULL)
);
CREATE INDEX vehicle_customer ON orders.vehicle (customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX vehicle_dealership ON orders.vehicle (dealership_id, inventory_status);

CREATE SEQUENCE orders.order_number START 100001;
CREATE TABLE orders.customer_order (
    order_id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE
        DEFAULT 'CAAS-ORD-' || nextval('orders.order_number'),
    customer_id uuid NOT NULL REFERENCES customers.customer (customer_id),
    dealership_id uuid NOT NULL REFERENCES customers.dealership (dealership_id),
    sold_by uuid NOT NULL REFERENCES customers.employee (employee_id),
    status text NOT NULL,
    platform text NOT NULL REFERENCES config.vehicle_model (code),
    plan jsonb NOT NULL,                      -- frozen at purchase
    total_minor bigint NOT NULL CHECK (total_minor > 0),
    deposit_minor bigint NOT NULL CHECK (deposit_minor > 0 AND deposit_minor <= total_minor),
    currency text NOT NULL DEFAULT 'EUR',
    delivery_address jsonb NOT NULL,
    financing_notes text NOT NULL DEFAULT '',
    from_stock boolean NOT NULL DEFAULT false,
    vin text REFERENCES orders.vehicle (vin),
    factory_order_id text UNIQUE,
    factory_status text,
    factory_status_at timestamptz,
    factory_error text,
    estimated_delivery_date date,
    manufacturing_location text,
    deposit_payment_id uuid,
    final_payment_id uuid,
    payment_complete boolean NOT NULL DEFAULT false,
    payment_open_at timestamptz,              -- a payment was started and has not ended
    final_declines integer NOT NULL DEFAULT 0,
    due_at timestamptz,                       -- of the deposit, later of the final payment
    ordered_at timestamptz NOT NULL,
    handed_over_at timestamptz,
    idempotency_key text,                     -- of the request that saved the sale
    request_digest text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX customer_order_request ON orders.customer_order (sold_by, idempotency_key);
CREATE INDEX customer_order_customer ON orders.customer_order (customer_id);
CREATE INDEX customer_order_dealership ON orders.customer_order (dealership_id, ordered_at);
CREATE INDEX customer_order_due ON orders.customer_order (due_at) WHERE due_at IS NOT NULL;
-- A vehicle is in at most one living order.
CREATE UNIQUE INDEX customer_order_vin ON orders.customer_order (vin)
    WHERE vin IS NOT NULL AND status NOT LIKE 'CANCELLED%' AND status <> 'ABANDONED';

-- A definitive decline counts once, however often it is told.
CREATE TABLE orders.declined_payment (
    payment_id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders.customer_order (order_id),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders.history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders.customer_order (order_id),
    machine text NOT NULL CHECK (machine IN ('order', 'registration', 'delivery')),
    at timestamptz NOT NULL,
    from_state text NOT NULL,
    event text NOT NULL,
    to_state text NOT NULL,
    actor text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX history_of ON orders.history (order_id, id);

-- What the factory reported, as it reported it.
CREATE TABLE orders.factory_step (
    order_id uuid NOT NULL REFERENCES orders.customer_order (order_id),
    status text NOT NULL,
    at timestamptz NOT NULL,                  -- the factory's own time
    estimated_completion_date date,
    notes text,
    location text,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, status, at)
);

CREATE TABLE orders.registration (
    order_id uuid PRIMARY KEY REFERENCES orders.customer_order (order_id),
    vin text NOT NULL,
    state text NOT NULL,
    country text NOT NULL,
    authority text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',      -- what one country needs: tuvReference, regionalOffice
    attempts integer NOT NULL DEFAULT 0,
    case_reference text,                      -- the authority's own, while under review
    license_plate text,
    registration_number text,
    registration_date date,
    expiry_date date,
    certificate_url text,
    environmental_badge text,
    error_code text,
    started_at timestamptz NOT NULL,
    told_late boolean NOT NULL DEFAULT false, -- the customer knows that it takes over a day
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX registration_open ON orders.registration (started_at)
    WHERE state <> 'Registered' AND NOT told_late;
CREATE UNIQUE INDEX registration_plate ON orders.registration (license_plate)
    WHERE license_plate IS NOT NULL;

CREATE TABLE orders.registration_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    vin text NOT NULL,
    customer_id uuid NOT NULL,
    country_code text NOT NULL,
    result text NOT NULL,
    license_plate text,
    request jsonb,                            -- without personal data; these four go after 7 years
    response jsonb,
    staff_user_id uuid,
    error_code text
);

CREATE TABLE orders.delivery (
    order_id uuid PRIMARY KEY REFERENCES orders.customer_order (order_id),
    vin text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('HOME', 'PICKUP')),
    state text NOT NULL,
    transport_company text,
    driver text,
    scheduled_at timestamptz,
    address jsonb NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    failure_reason text,
    pickup_since timestamptz,                 -- waits at the dealership since then
    reminded_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders.delivery_attempt (
    vin text NOT NULL,
    order_id uuid NOT NULL REFERENCES orders.customer_order (order_id),
    attempt_number integer NOT NULL CHECK (attempt_number >= 1),
    attempted_at timestamptz NOT NULL,
    outcome text
        CHECK (outcome IN ('SUCCESS', 'CUSTOMER_ABSENT', 'ADDRESS_INACCESSIBLE', 'OTHER')),
    notes text NOT NULL DEFAULT '',
    transport_company text,
    PRIMARY KEY (order_id, attempt_number)
);

CREATE TABLE orders.app_link (
    link_id uuid PRIMARY KEY,
    vin text NOT NULL REFERENCES orders.vehicle (vin),
    customer_id uuid NOT NULL REFERENCES customers.customer (customer_id),
    code text NOT NULL CHECK (code ~ '^[0-9]{6}$'),
    state text NOT NULL CHECK (state IN ('PENDING', 'CONFIRMED', 'ENDED')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    event_id uuid,
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- One app account per vehicle, and one code on its screen at a time.
CREATE UNIQUE INDEX app_link_one ON orders.app_link (vin) WHERE state = 'CONFIRMED';
CREATE UNIQUE INDEX app_link_pending ON orders.app_link (vin) WHERE state = 'PENDING';

-- Every webhook that was signed well, once per (source, message_id).
CREATE TABLE orders.webhook_inbox (
    source text NOT NULL,
    message_id text NOT NULL,
    received_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (source, message_id)
);
