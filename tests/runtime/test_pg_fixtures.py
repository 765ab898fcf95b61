"""The database fixtures give each test a database of its own, migrated."""

import psycopg


def test_a_database_is_migrated_and_empty(database: str) -> None:
    with psycopg.connect(database) as connection:
        done = connection.execute("SELECT count(*) FROM migrations.done").fetchone()
        connection.execute("CREATE TABLE public.mark (x int)")
    assert done is not None
    assert done[0] > 0


def test_another_test_gets_another_database(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('public.mark')").fetchone()
    assert found == (None,)
