-- Vehicles behind a foreign IoT API: what their duties need to be kept without loops and guesses.

-- When the API said how it ended: a late success is proved from then on.
ALTER TABLE gateway.foreign_command ADD COLUMN ended_at timestamptz;

ALTER TABLE gateway.foreign_vehicle
    ADD COLUMN look_tries integer NOT NULL DEFAULT 0,   -- looks that failed, one after another
    ADD COLUMN unsaid_tries integer NOT NULL DEFAULT 0, -- the broker refused the next message so often
    ADD COLUMN events_from timestamptz NOT NULL DEFAULT now(), -- earlier ones are not said
    ADD COLUMN events_said uuid[] NOT NULL DEFAULT '{}'; -- of those that may be read once more
UPDATE gateway.foreign_vehicle SET events_from = events_at;

-- A configuration waits for the end of an earlier one, or the time of that: what a vehicle reports
-- is then what the one it is read for has made of it. By the time it is given, like all else.
DROP VIEW gateway.foreign_open_command;
CREATE FUNCTION gateway.foreign_open_commands(at timestamptz)
RETURNS SETOF gateway.foreign_command LANGUAGE sql STABLE AS $$
    SELECT c.* FROM gateway.foreign_command c
    WHERE c.state <> 'DONE' AND NOT EXISTS (
        SELECT FROM gateway.foreign_command e
        WHERE e.vin = c.vin AND e.seq < c.seq AND e.kind = 'CONFIGURE' AND c.kind = 'CONFIGURE'
          AND e.state <> 'DONE' AND (e.state <> 'SENT' OR e.expires_at > at))
$$;
