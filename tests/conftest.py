"""Fixtures for every test: a migrated database of one's own."""

from tests.pg_fixtures import database, pg_base, pg_cluster, pg_template

__all__ = ["database", "pg_base", "pg_cluster", "pg_template"]
