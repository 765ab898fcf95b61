"""PostgreSQL: pool, transactions, named SQL, and driver errors as domain errors."""

from core.db.errors import domain_errors, is_content_error
from core.db.pool import Connection, Database
from core.db.queries import Queries, load_queries

__all__ = ["Connection", "Database", "Queries", "domain_errors", "is_content_error", "load_queries"]
