-- Limits of the IoT API. Owner: the gateway.

-- Telemetry of one client never waits for another's.

-- due_at: not sent before (new: at once; a replica sends it, or it waits to be tried again: later).
ALTER TABLE gateway.iot_push
    ADD COLUMN due_at timestamptz,
    ADD COLUMN attempts integer NOT NULL DEFAULT 0;
UPDATE gateway.iot_push SET due_at = coalesce(leased_until, created_at);
ALTER TABLE gateway.iot_push
    ALTER COLUMN due_at SET NOT NULL,
    DROP COLUMN leased_until;
CREATE INDEX iot_push_due ON gateway.iot_push (client_id, due_at);

DROP INDEX gateway.iot_callback_due;
CREATE INDEX iot_callback_due ON gateway.iot_callback (client_id, next_at) WHERE state = 'PENDING';

-- So many texts an hour for one vehicle.
CREATE INDEX command_texts ON gateway.command (vin, issued_at) WHERE kind = 'DISPLAY';
