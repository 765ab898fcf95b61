PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = 5000;

CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS faults (
    partner TEXT PRIMARY KEY,
    mode TEXT NOT NULL,
    delay_s REAL NOT NULL,
    remaining INTEGER CHECK (remaining > 0),
    match TEXT,
    code TEXT
) STRICT;

-- What is to happen later: seconds since the epoch, so a restart goes on where it was.
CREATE TABLE IF NOT EXISTS due_work (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    due_at REAL NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
CREATE INDEX IF NOT EXISTS due_work_by_time ON due_work (due_at);

-- next_at is null once a webhook is confirmed or given up.
CREATE TABLE IF NOT EXISTS webhooks (
    webhook_id TEXT PRIMARY KEY,
    partner TEXT NOT NULL,
    path TEXT NOT NULL,
    body TEXT NOT NULL,
    event_at TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL,
    last_answer TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS webhooks_by_time ON webhooks (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS factory_orders (
    order_id TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    platform TEXT NOT NULL,
    dealership_id TEXT NOT NULL,
    request TEXT NOT NULL,
    status TEXT NOT NULL,
    estimated_delivery_date TEXT NOT NULL,
    manufacturing_location TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS factory_steps (
    order_id TEXT NOT NULL REFERENCES factory_orders,
    status TEXT NOT NULL,
    timestamp TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS factory_steps_by_order ON factory_steps (order_id);

-- Cars that are built and wait on the lot; each leaves with one order at most.
CREATE TABLE IF NOT EXISTS vin_pool (
    vin TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    firmware_version TEXT,
    order_id TEXT UNIQUE REFERENCES factory_orders
) STRICT;

CREATE TABLE IF NOT EXISTS cards (
    payment_token TEXT PRIMARY KEY,
    brand TEXT NOT NULL,
    last4 TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS transactions (
    transaction_id TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    request_hash TEXT NOT NULL,
    type TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    payment_token TEXT NOT NULL,
    capture INTEGER NOT NULL,
    reference TEXT NOT NULL,
    status TEXT NOT NULL,
    error_code TEXT,
    reason TEXT,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS movements (
    movement_id TEXT PRIMARY KEY,
    transaction_id TEXT NOT NULL REFERENCES transactions,
    kind TEXT NOT NULL CHECK (kind IN ('authorise', 'capture', 'void', 'refund')),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    reference TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
-- One hold, one capture, one void a transaction, whatever the code above believes.
CREATE UNIQUE INDEX IF NOT EXISTS movements_once
    ON movements (transaction_id, kind) WHERE kind <> 'refund';
CREATE INDEX IF NOT EXISTS movements_by_reference ON movements (reference);

CREATE TABLE IF NOT EXISTS refunds (
    refund_id TEXT PRIMARY KEY,
    transaction_id TEXT NOT NULL REFERENCES transactions,
    idempotency_key TEXT UNIQUE,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    status TEXT NOT NULL CHECK (status IN ('PENDING', 'COMPLETED', 'DENIED')),
    created_at TEXT NOT NULL,
    completed_at TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS settlements (
    transaction_id TEXT PRIMARY KEY REFERENCES transactions,
    body TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS vss_tokens (
    token_hash TEXT PRIMARY KEY,
    expires_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS vss_vehicles (
    vin TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS registrations (
    registration_id TEXT PRIMARY KEY,
    country TEXT NOT NULL,
    vin TEXT NOT NULL UNIQUE,
    purchase TEXT NOT NULL,
    idempotency_key TEXT,
    status TEXT NOT NULL,
    license_plate TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS messages (
    message_id TEXT PRIMARY KEY,
    channel TEXT NOT NULL CHECK (channel IN ('email', 'push', 'sms')),
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL,
    date TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT NOT NULL,
    attachments TEXT NOT NULL,
    raw BLOB NOT NULL
) STRICT;
