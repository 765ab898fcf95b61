-- name: counter_next
INSERT INTO counters (name, value) VALUES (:name, 1)
ON CONFLICT (name) DO UPDATE SET value = value + 1
RETURNING value;

-- name: alive
SELECT 1 AS value;

-- name: fault_list
SELECT * FROM faults ORDER BY partner;

-- name: fault_get
SELECT * FROM faults WHERE partner = :partner;

-- name: fault_insert
INSERT INTO faults (partner, mode, delay_s, remaining, match, code)
VALUES (:partner, :mode, :delay_s, :remaining, :match, :code);

-- name: fault_delete
DELETE FROM faults WHERE partner = :partner;

-- name: fault_clear
DELETE FROM faults;

-- name: fault_count_down
UPDATE faults SET remaining = remaining - 1 WHERE partner = :partner;

-- name: due_put
INSERT INTO due_work (kind, key, due_at) VALUES (:kind, :key, :due_at)
ON CONFLICT (kind, key) DO UPDATE SET due_at = excluded.due_at;

-- name: due_list
SELECT * FROM due_work WHERE due_at <= :now ORDER BY due_at LIMIT 500;

-- name: due_first
SELECT * FROM due_work ORDER BY due_at LIMIT 1;

-- name: due_delete
DELETE FROM due_work WHERE kind = :kind AND key = :key;

-- name: webhook_insert
INSERT INTO webhooks (webhook_id, partner, path, body, event_at, state, next_at)
VALUES (:webhook_id, :partner, :path, :body, :event_at, 'PENDING', :next_at);

-- name: due_forget
DELETE FROM due_work;

-- name: webhook_forget
UPDATE webhooks SET state = 'FAILED', next_at = NULL, last_answer = 'forgotten'
WHERE state = 'PENDING';

-- name: webhook_due
SELECT * FROM webhooks WHERE next_at <= :now ORDER BY next_at, webhook_id LIMIT 16;

-- name: webhook_first
SELECT * FROM webhooks WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1;

-- name: webhook_list
SELECT * FROM webhooks WHERE :state IS NULL OR state = :state
ORDER BY webhook_id DESC LIMIT 500;

-- name: webhook_resend
UPDATE webhooks SET state = 'PENDING', attempts = 0, next_at = :now WHERE webhook_id = :webhook_id;

-- name: webhook_result
UPDATE webhooks SET state = :state, attempts = :attempts, next_at = :next_at,
    last_answer = :last_answer
WHERE webhook_id = :webhook_id;

-- name: factory_order_insert
INSERT INTO factory_orders (order_id, idempotency_key, platform, dealership_id, request, status,
    estimated_delivery_date, manufacturing_location, created_at)
VALUES (:order_id, :idempotency_key, :platform, :dealership_id, :request, :status,
    :estimated_delivery_date, :manufacturing_location, :created_at);

-- name: factory_order_get
SELECT o.order_id, o.platform, o.dealership_id, o.status, o.estimated_delivery_date,
    o.manufacturing_location, o.created_at, v.vin, v.firmware_version
FROM factory_orders o LEFT JOIN vin_pool v ON v.order_id = o.order_id
WHERE o.order_id = :order_id;

-- name: factory_order_by_key
SELECT o.order_id, o.platform, o.dealership_id, o.status, o.estimated_delivery_date,
    o.manufacturing_location, o.created_at, v.vin, v.firmware_version
FROM factory_orders o LEFT JOIN vin_pool v ON v.order_id = o.order_id
WHERE o.idempotency_key = :idempotency_key;

-- name: factory_order_status
UPDATE factory_orders SET status = :status WHERE order_id = :order_id;

-- name: factory_order_date
UPDATE factory_orders SET estimated_delivery_date = :estimated WHERE order_id = :order_id;

-- name: factory_step_insert
INSERT INTO factory_steps (order_id, status, timestamp) VALUES (:order_id, :status, :timestamp);

-- name: factory_steps
SELECT status, timestamp FROM factory_steps WHERE order_id = :order_id ORDER BY rowid;

-- name: vin_add
INSERT INTO vin_pool (vin, platform, firmware_version) VALUES (:vin, :platform, :firmware_version)
ON CONFLICT (vin) DO NOTHING;

-- name: vin_list
SELECT * FROM vin_pool ORDER BY rowid;

-- name: vin_assign
UPDATE vin_pool SET order_id = :order_id
WHERE vin = (SELECT vin FROM vin_pool WHERE platform = :platform AND order_id IS NULL
    ORDER BY rowid LIMIT 1);

-- name: card_insert
INSERT INTO cards (payment_token, brand, last4, outcome)
VALUES (:payment_token, :brand, :last4, :outcome);

-- name: card_get
SELECT * FROM cards WHERE payment_token = :payment_token;

-- name: transaction_insert
INSERT INTO transactions (transaction_id, idempotency_key, request_hash, type, amount_minor,
    currency, payment_token, capture, reference, status, error_code, reason, created_at)
VALUES (:transaction_id, :idempotency_key, :request_hash, :type, :amount_minor, :currency,
    :payment_token, :capture, :reference, :status, :error_code, :reason, :created_at);

-- name: transaction_get
SELECT * FROM transactions WHERE transaction_id = :transaction_id;

-- name: transaction_by_key
SELECT * FROM transactions WHERE idempotency_key = :idempotency_key;

-- name: transaction_move
UPDATE transactions SET status = :target
WHERE transaction_id = :transaction_id AND status = :source;

-- name: movement_insert
INSERT INTO movements (movement_id, transaction_id, kind, amount_minor, currency, reference, at)
VALUES (:movement_id, :transaction_id, :kind, :amount_minor, :currency, :reference, :at);

-- name: movement_list
SELECT * FROM movements
WHERE (:reference IS NULL OR reference = :reference)
    AND (:transaction_id IS NULL OR transaction_id = :transaction_id)
ORDER BY movement_id LIMIT 5000;

-- name: refund_insert
INSERT INTO refunds (refund_id, transaction_id, idempotency_key, amount_minor, status, created_at)
VALUES (:refund_id, :transaction_id, :idempotency_key, :amount_minor, 'PENDING', :created_at);

-- name: refund_get
SELECT * FROM refunds WHERE refund_id = :refund_id;

-- name: refund_by_key
SELECT * FROM refunds WHERE idempotency_key = :idempotency_key;

-- name: refund_list
SELECT * FROM refunds WHERE transaction_id = :transaction_id ORDER BY refund_id;

-- name: refund_end
UPDATE refunds SET status = :status, completed_at = :completed_at
WHERE refund_id = :refund_id AND status = 'PENDING';

-- name: settlement_insert
INSERT INTO settlements (transaction_id, body, at) VALUES (:transaction_id, :body, :at);

-- name: settlement_list
SELECT body FROM settlements
WHERE (:since IS NULL OR at >= :since) AND (:until IS NULL OR at < :until)
ORDER BY at, transaction_id LIMIT 5000;

-- name: settlement_get
SELECT body FROM settlements WHERE transaction_id = :transaction_id;

-- name: vss_token_insert
INSERT INTO vss_tokens (token_hash, expires_at) VALUES (:token_hash, :expires_at);

-- name: vss_token_purge
DELETE FROM vss_tokens WHERE expires_at <= :now;

-- name: vss_token_get
SELECT token_hash FROM vss_tokens WHERE token_hash = :token_hash AND expires_at > :now;

-- name: vss_vehicle_put
INSERT INTO vss_vehicles (vin, body) VALUES (:vin, :body)
ON CONFLICT (vin) DO UPDATE SET body = excluded.body;

-- name: vss_vehicle_get
SELECT body FROM vss_vehicles WHERE vin = :vin;

-- name: vss_vehicle_delete
DELETE FROM vss_vehicles WHERE vin = :vin;

-- name: registration_insert
INSERT INTO registrations (registration_id, country, vin, purchase, idempotency_key, status,
    license_plate, body)
VALUES (:registration_id, :country, :vin, :purchase, :idempotency_key, :status, :license_plate,
    :body);

-- name: registration_get
SELECT * FROM registrations WHERE registration_id = :registration_id;

-- name: registration_by_vin
SELECT * FROM registrations WHERE vin = :vin;

-- name: registration_end_review
UPDATE registrations SET status = 'REGISTERED'
WHERE registration_id = :registration_id AND status = 'UNDER_REVIEW';

-- name: message_insert
INSERT INTO messages (message_id, channel, sender, recipients, subject, date, text, html,
    attachments, raw)
VALUES (:message_id, :channel, :sender, :recipients, :subject, :date, :text, :html,
    :attachments, :raw);

-- name: message_list
SELECT message_id, channel, sender, recipients, subject, date, text, html, attachments
FROM messages
WHERE (:recipient IS NULL OR instr(lower(recipients), lower(:recipient)) > 0)
    AND (:subject IS NULL OR instr(lower(subject), lower(:subject)) > 0)
    AND (:channel IS NULL OR channel = :channel)
ORDER BY message_id DESC LIMIT :limit;

-- name: message_get
SELECT message_id, channel, sender, recipients, subject, date, text, html, attachments
FROM messages WHERE message_id = :message_id;

-- name: message_raw
SELECT raw FROM messages WHERE message_id = :message_id;

-- name: message_delete
DELETE FROM messages WHERE message_id = :message_id;

-- name: message_clear
DELETE FROM messages;
