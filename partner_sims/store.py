"""The simulators' memory: one SQLite file, so that what was answered once survives kill -9."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_HERE = Path(__file__).parent


def load_queries(text: str) -> dict[str, str]:
    """Name → statement, from a file of ``-- name: …`` sections."""
    queries: dict[str, str] = {}
    for section in text.split("-- name: ")[1:]:
        name, _, statement = section.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"two queries are named {name.strip()}")
        queries[name.strip()] = statement.strip()
    return queries


class Store:
    """One connection, used from one event loop: a transaction never awaits, so none interleave."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._queries = load_queries((_HERE / "queries.sql").read_text(encoding="utf-8"))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript((_HERE / "schema.sql").read_text(encoding="utf-8"))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; the edge (route, timer, delivery) opens it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def run(self, query: str, **values: Any) -> int:
        """Run a named statement; the number of rows it changed."""
        return self._db.execute(self._queries[query], values).rowcount

    def all(self, row_type: type[T], query: str, **values: Any) -> list[T]:
        """Every row of a named query as ``row_type``, whose fields are the columns."""
        return [row_type(**dict(row)) for row in self._db.execute(self._queries[query], values)]

    def one(self, row_type: type[T], query: str, **values: Any) -> T | None:
        """The first row, or None."""
        row = self._db.execute(self._queries[query], values).fetchone()
        return None if row is None else row_type(**dict(row))

    def next_number(self, counter: str) -> int:
        """1, 2, 3, … for each ``counter``; call it inside a transaction."""
        row = self._db.execute(self._queries["counter_next"], {"name": counter}).fetchone()
        return int(row["value"])
