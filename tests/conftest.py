"""Fixtures for every test."""

from tests.pg_fixtures import pg_base

__all__ = ["pg_base"]
