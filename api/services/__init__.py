"""Catalogue and purchase of services: what is for sale, to whom (DOMAIN 4 to 6, 13)."""
