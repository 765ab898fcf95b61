-- The command log becomes append-only and hash-chained (DOMAIN 7 and 16; docs/gateway.md, "Command
-- log"): one chain per vehicle, whose row is locked at admission anyway, so that chaining costs no
-- queue; checkpoints over all vehicles' ends, themselves a chain, find what is cut off at the end.

-- The vehicle's answers, which do change, leave the log.
CREATE TABLE gateway.command_answer (
    command_id uuid PRIMARY KEY REFERENCES gateway.command_log (command_id),
    last_result text NOT NULL,
    last_reason text,
    answered_at timestamptz NOT NULL          -- the vehicle's own time
);
INSERT INTO gateway.command_answer (command_id, last_result, last_reason, answered_at)
    SELECT command_id, last_result, last_reason, answered_at FROM gateway.command_log
    WHERE last_result IS NOT NULL AND answered_at IS NOT NULL;

ALTER TABLE gateway.command_log ADD COLUMN previous_hash bytea, ADD COLUMN hash bytea;
ALTER TABLE gateway.vehicle ADD COLUMN last_hash bytea;  -- of the log's row with number last_seq

-- What is hashed of a row: a JSON array, as PostgreSQL prints it (", " between the members).
CREATE FUNCTION gateway.command_hash(
    p_previous bytea, p_command_id uuid, p_vin text, p_seq bigint, p_kind text, p_source text,
    p_service text, p_admitted_at timestamptz, p_content jsonb
) RETURNS bytea LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT sha256(convert_to(json_build_array(
        'caas-command-log/1', encode(p_previous, 'hex'), p_command_id, p_vin, p_seq, p_kind,
        p_source, p_service, (extract(epoch FROM p_admitted_at) * 1000000)::bigint,
        encode(sha256(convert_to(p_content::text, 'UTF8')), 'hex'))::text, 'UTF8'))
$$;

DO $$
DECLARE
    r record;
    v_vin text := '';
    v_hash bytea;
    v_next bytea;
BEGIN
    FOR r IN SELECT * FROM gateway.command_log ORDER BY vin, seq LOOP
        IF r.vin <> v_vin THEN
            v_vin := r.vin;
            v_hash := NULL;
        END IF;
        v_next := gateway.command_hash(v_hash, r.command_id, r.vin, r.seq, r.kind, r.source,
                                       r.service, r.admitted_at, r.content);
        UPDATE gateway.command_log SET previous_hash = v_hash, hash = v_next
        WHERE command_id = r.command_id;
        UPDATE gateway.vehicle SET last_hash = v_next WHERE vin = r.vin;
        v_hash := v_next;
    END LOOP;
END $$;
ALTER TABLE gateway.command_log ALTER COLUMN hash SET NOT NULL;

DROP VIEW gateway.command_log_v1;
ALTER TABLE gateway.command_log
    DROP COLUMN last_result, DROP COLUMN last_reason, DROP COLUMN answered_at;
CREATE VIEW gateway.command_log_v1 AS
    SELECT l.command_id, l.vin, l.seq, l.kind, l.source, l.service, l.content, l.admitted_at,
           a.last_result, a.last_reason, a.answered_at, encode(l.hash, 'hex') AS hash
    FROM gateway.command_log l LEFT JOIN gateway.command_answer a USING (command_id);
GRANT SELECT ON gateway.command_log_v1 TO caas_ota, caas_telemetry, caas_api, caas_reader;

CREATE TABLE gateway.command_checkpoint (
    checkpoint_id bigint PRIMARY KEY CHECK (checkpoint_id > 0),
    at timestamptz NOT NULL,
    vehicles bigint NOT NULL,                 -- whose chain grew since the checkpoint before
    previous_hash bytea,
    hash bytea NOT NULL
);
CREATE TABLE gateway.command_checkpoint_head (
    checkpoint_id bigint NOT NULL REFERENCES gateway.command_checkpoint (checkpoint_id),
    vin text NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (checkpoint_id, vin)
);
-- Where each chain stood at the last checkpoint; only a memory, nothing is proved with it.
CREATE TABLE gateway.command_checkpoint_memory (
    vin text PRIMARY KEY,
    seq bigint NOT NULL
);

-- A checkpoint over every chain that grew since the last one; null where none did. Replicas may
-- call it at once: one does it, the other finds nothing to do.
CREATE FUNCTION gateway.checkpoint_commands_v1(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    v_last gateway.command_checkpoint;
    v_id bigint;
    v_vehicles bigint;
    v_heads bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('gateway.command_checkpoint'));
    SELECT * INTO v_last FROM gateway.command_checkpoint ORDER BY checkpoint_id DESC LIMIT 1;
    v_id := coalesce(v_last.checkpoint_id, 0) + 1;
    CREATE TEMPORARY TABLE heads ON COMMIT DROP AS
        SELECT v.vin, v.last_seq AS seq, v.last_hash AS hash
        FROM gateway.vehicle v LEFT JOIN gateway.command_checkpoint_memory m USING (vin)
        WHERE v.last_seq > coalesce(m.seq, 0);
    SELECT count(*), sha256(convert_to(coalesce(string_agg(
               vin || ' ' || seq || ' ' || encode(hash, 'hex') || E'\n', '' ORDER BY vin COLLATE "C"
           ), ''), 'UTF8'))
        INTO v_vehicles, v_heads FROM pg_temp.heads;
    IF v_vehicles = 0 THEN
        DROP TABLE pg_temp.heads;
        RETURN NULL;
    END IF;
    INSERT INTO gateway.command_checkpoint (checkpoint_id, at, vehicles, previous_hash, hash)
    VALUES (v_id, p_now, v_vehicles, v_last.hash, sha256(convert_to(json_build_array(
        'caas-command-checkpoint/1', encode(v_last.hash, 'hex'), v_id,
        (extract(epoch FROM p_now) * 1000000)::bigint, v_vehicles,
        encode(v_heads, 'hex'))::text, 'UTF8')));
    INSERT INTO gateway.command_checkpoint_head SELECT v_id, vin, seq, hash FROM pg_temp.heads;
    INSERT INTO gateway.command_checkpoint_memory SELECT vin, seq FROM pg_temp.heads
        ON CONFLICT (vin) DO UPDATE SET seq = excluded.seq;
    DROP TABLE pg_temp.heads;
    RETURN v_id;
END $$;
REVOKE ALL ON FUNCTION gateway.checkpoint_commands_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.checkpoint_commands_v1 TO caas_gateway;

-- Append-only: by grant for the rooms, by trigger for everybody.
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON
    gateway.command_log, gateway.command_checkpoint, gateway.command_checkpoint_head,
    gateway.command_checkpoint_memory FROM caas_gateway;
CREATE FUNCTION gateway.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gateway.command_log
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gateway.command_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gateway.command_checkpoint_head
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.refuse_change();

-- As before (0003), and it links each row to the vehicle's row before it.
CREATE OR REPLACE FUNCTION gateway.admit_command_v1(
    p_command_id uuid, p_vin text, p_kind text, p_source text, p_service text, p_content jsonb,
    p_now timestamptz, p_quota integer
) RETURNS TABLE (outcome text, seq bigint, retry_after_s integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    v_seq bigint;
    v_previous bytea;
    v_hash bytea;
    v_oldest timestamptz;
    v_count integer;
BEGIN
    SELECT v.last_seq + 1, v.last_hash INTO v_seq, v_previous
    FROM gateway.vehicle v WHERE v.vin = p_vin AND v.status = 'ENROLLED' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'UNKNOWN_VIN', NULL::bigint, NULL::integer;
        RETURN;
    END IF;
    PERFORM 1 FROM gateway.command_log l WHERE l.command_id = p_command_id;
    IF FOUND THEN
        RETURN QUERY SELECT 'ADMITTED', l.seq, NULL::integer
        FROM gateway.command_log l WHERE l.command_id = p_command_id;
        RETURN;
    END IF;
    IF p_kind = 'CONFIGURE' THEN
        SELECT count(*), min(l.admitted_at) INTO v_count, v_oldest
        FROM gateway.command_log l
        WHERE l.vin = p_vin AND l.kind = 'CONFIGURE' AND l.admitted_at > p_now - interval '1 hour';
        IF v_count >= p_quota THEN
            RETURN QUERY SELECT 'RATE_LIMITED', NULL::bigint, greatest(
                1, ceil(extract(epoch FROM v_oldest + interval '1 hour' - p_now))::integer);
            RETURN;
        END IF;
    END IF;
    v_hash := gateway.command_hash(v_previous, p_command_id, p_vin, v_seq, p_kind, p_source,
                                   p_service, p_now, p_content);
    UPDATE gateway.vehicle v SET last_seq = v_seq, last_hash = v_hash WHERE v.vin = p_vin;
    INSERT INTO gateway.command_log (command_id, vin, seq, kind, source, service, content,
        admitted_at, previous_hash, hash)
    VALUES (p_command_id, p_vin, v_seq, p_kind, p_source, p_service, p_content, p_now,
        v_previous, v_hash);
    RETURN QUERY SELECT 'ADMITTED', v_seq, NULL::integer;
END $$;
