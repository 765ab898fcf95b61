"""The shared vocabulary: contracts, ids, money, clock, state machine, settings, database, bus."""
