-- Dealerships, employees, customers and their logins (DOMAIN 2 and 3). Owner: the API.

CREATE TABLE customers.dealership (
    dealership_id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE CHECK (code ~ '^DEALER-[A-Z]{2}-[0-9]{3}$'),
    name text NOT NULL,
    address jsonb NOT NULL,                   -- {street, city, postal_code, country}
    authorization_number text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE customers.employee (
    employee_id uuid PRIMARY KEY,
    dealership_id uuid REFERENCES customers.dealership (dealership_id),
    role text NOT NULL CHECK (role IN ('SALES', 'ADMIN', 'SUPPORT', 'FINANCE', 'OPERATIONS')),
    name text NOT NULL,
    email text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz,                  -- null: employed until further notice
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (role <> 'SALES' OR dealership_id IS NOT NULL)
);

CREATE SEQUENCE customers.customer_number START 100001;
CREATE TABLE customers.customer (
    customer_id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE
        DEFAULT 'CAAS-CUST-' || nextval('customers.customer_number'),
    name text NOT NULL,
    email text NOT NULL,
    phone text NOT NULL,
    address jsonb NOT NULL,                   -- {street, city, postal_code, country}
    tax_id text NOT NULL,                     -- DNI, NIE or NIF
    language text NOT NULL DEFAULT 'es',
    time_zone text NOT NULL DEFAULT 'Europe/Madrid',
    notification_preferences jsonb NOT NULL DEFAULT '{}',
    notes text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX customer_email ON customers.customer (lower(email));

CREATE TABLE customers.user_account (
    user_id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE CHECK (username = lower(username)),
    role text NOT NULL
        CHECK (role IN ('CUSTOMER', 'SALES', 'ADMIN', 'SUPPORT', 'FINANCE', 'OPERATIONS')),
    customer_id uuid UNIQUE REFERENCES customers.customer (customer_id),
    employee_id uuid UNIQUE REFERENCES customers.employee (employee_id),
    password_hash text,                       -- null: credentials were not sent yet
    activated_at timestamptz,
    activation_hash text,                     -- SHA-256 of the one-time token of the link
    activation_until timestamptz,
    credentials_sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((role = 'CUSTOMER') = (customer_id IS NOT NULL)),
    CHECK ((role = 'CUSTOMER') = (employee_id IS NULL))
);
CREATE UNIQUE INDEX user_account_activation ON customers.user_account (activation_hash)
    WHERE activation_hash IS NOT NULL;

-- A refresh token is used once; using it again means it was stolen, and ends its whole family.
CREATE TABLE customers.refresh_token (
    token_hash text PRIMARY KEY,
    family_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES customers.user_account (user_id),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_token_family ON customers.refresh_token (family_id);
CREATE INDEX refresh_token_expiry ON customers.refresh_token (expires_at);

-- Counts worth nothing after a crash.
CREATE UNLOGGED TABLE customers.rate_window (
    key text PRIMARY KEY,
    window_start timestamptz NOT NULL,
    hits integer NOT NULL
);
