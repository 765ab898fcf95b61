"""Payments, refunds, invoices and settlement (DOMAIN 11, 13, 14)."""
