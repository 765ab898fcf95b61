"""Every topic, payload, job and shared state name, once; no I/O."""
