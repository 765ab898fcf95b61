"""Named SQL: the text lives in ``queries.sql`` beside the code and is read by name."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^--\s*name:\s*(\w+)\s*$", re.MULTILINE)


class Queries(Mapping[str, LiteralString]):
    """The statements of one ``queries.sql`` by name; an unknown name is a KeyError that says so."""

    def __init__(self, source: str, statements: Mapping[str, str]) -> None:
        self._source = source
        self._statements = dict(statements)

    def __getitem__(self, name: str) -> LiteralString:
        try:
            # The text comes from a file of the package, never from input.
            return cast("LiteralString", self._statements[name])
        except KeyError:
            raise KeyError(f"{self._source} names no statement {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def load_queries(package: str, file: str = "queries.sql") -> Queries:
    """Read ``file`` of ``package``: each statement starts with a line ``-- name: the_name``."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in statements:
            raise ValueError(f"{package}/{file} names {name!r} twice")
        statements[name] = body.strip().rstrip(";")
    return Queries(f"{package}/{file}", statements)
