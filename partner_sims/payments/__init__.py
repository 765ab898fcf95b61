"""The payment gateway (pasarela): holds, captures, voids, refunds, settles."""
