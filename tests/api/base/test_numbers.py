"""Numbers a person reads aloud: unique beyond the first million too."""

from typing import LiteralString

import psycopg
import pytest


@pytest.mark.parametrize(
    ("sequence", "table", "column"),
    [
        ("customers.customer_number", "customers.customer", "code"),
        ("orders.order_number", "orders.customer_order", "number"),
    ],
)
async def test_a_number_is_not_cut(
    database: str, sequence: str, table: LiteralString, column: LiteralString
) -> None:
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute("SELECT setval(%s, 1234566)", (sequence,))
        # A bare table with the defaults of the real one.
        await conn.execute(f"CREATE TEMP TABLE bare (LIKE {table} INCLUDING DEFAULTS)")
        await conn.execute(
            "DO $$ DECLARE c text; BEGIN"
            " FOR c IN SELECT attname FROM pg_attribute"
            "  WHERE attrelid = 'bare'::regclass AND attnum > 0 AND attnotnull LOOP"
            "  EXECUTE format('ALTER TABLE bare ALTER %I DROP NOT NULL', c); END LOOP; END $$"
        )
        cursor = await conn.execute(f"INSERT INTO bare DEFAULT VALUES RETURNING {column}")
        row = await cursor.fetchone()
    assert row is not None
    assert row[0].endswith("-1234567")
