"""Customers and dealerships (DOMAIN 2 and 3)."""
