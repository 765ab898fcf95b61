-- Many commands through the one door at once (campaigns, dispatch): a round trip less for each.

-- gateway.admit_command_v1 for each member of the arrays, which are of one length, with the same
-- outcome as calls one by one: the commands of one vehicle in the order given. The vehicles are
-- locked in the order of their VINs, so that two batches never wait for each other in a ring.
CREATE FUNCTION gateway.admit_commands_v1(
    p_command_ids uuid[], p_vins text[], p_kinds text[], p_source text, p_services text[],
    p_contents jsonb[], p_now timestamptz, p_quota integer
) RETURNS TABLE (command_id uuid, outcome text, seq bigint, retry_after_s integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT * FROM unnest(p_command_ids, p_vins, p_kinds, p_services, p_contents)
            WITH ORDINALITY AS c (command_id, vin, kind, service, content, place)
        ORDER BY c.vin COLLATE "C", c.place
    LOOP
        RETURN QUERY SELECT r.command_id, a.outcome, a.seq, a.retry_after_s
        FROM gateway.admit_command_v1(r.command_id, r.vin, r.kind, p_source, r.service, r.content,
                                      p_now, p_quota) a;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION gateway.admit_commands_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.admit_commands_v1 TO caas_gateway, caas_ota;
