"""Telling customers and staff what happened, by the channels of DOMAIN 15."""
