"""Benchmarks: each measures one path beside its ceilings, in one run, and prints one object."""

BENCHES = {
    "ingest": "publishers → Mosquitto → telemetry ingestor → PostgreSQL, in samples/s",
    "bus": "admission → Mosquitto → vehicles → Mosquitto → gateway → PostgreSQL, in commands/s",
}
