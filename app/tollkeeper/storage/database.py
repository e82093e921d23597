"""The database, and the only place that commits.

Services open a transaction here and hand its connection to the shelves; a shelf never commits. The request path has
connections of its own (`gate`, `settlement`), because it groups many requests into one round trip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tollkeeper.domain.errors import StoreUnavailable

_decoder = json.JSONDecoder(parse_float=Decimal)


def load_json(data: str | bytes) -> Any:
    """JSON out of the database with exact numbers: a fraction becomes a `Decimal`, never a float."""
    return _decoder.decode(data if isinstance(data, str) else data.decode())


set_json_loads(load_json)


def session_options(schema: str | None) -> str:
    """What every connection of ours starts with: UTC, so that no setting of the server changes a period; our schema."""
    options = "-c timezone=UTC"
    return options if schema is None else f"{options} -c search_path={schema}"


class Database:
    """PostgreSQL for services: synchronous, pooled, one transaction at a time."""

    def __init__(self, url: str, schema: str | None = None) -> None:
        self._engine = create_engine(
            "postgresql+psycopg://" + url.removeprefix("postgresql://"),
            pool_size=4,
            max_overflow=4,
            pool_pre_ping=True,
            connect_args={
                "options": session_options(schema),
                "connect_timeout": 5,
                "application_name": "tollkeeper",
            },
            json_deserializer=load_json,
        )
        self.url = url
        self.schema = schema

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, and rolls back if anything is raised in it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(f"PostgreSQL did not answer: {_first_line(error)}") from error

    def close(self) -> None:
        """Give all connections back; needed before a fork and at the end of a process."""
        self._engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def first_row(connection: Connection, statement: str, **parameters: object) -> dict[str, Any] | None:
    """The first row that a statement returns, by column name, or None."""
    row = connection.execute(text(statement), parameters).mappings().first()
    return None if row is None else dict(row)


def all_rows(connection: Connection, statement: str, **parameters: object) -> list[dict[str, Any]]:
    """All rows that a statement returns, by column name."""
    return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]


def change(connection: Connection, statement: str, **parameters: object) -> int:
    """Run a statement that returns nothing; how many rows it changed."""
    return connection.execute(text(statement), parameters).rowcount


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig is not None else type(error).__name__
