"""HTTP at the edge: one error shape, request ids, access log and metrics (DOMAIN 16 and 19)."""
