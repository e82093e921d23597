"""The database, and the only place that commits.

Services open a transaction here and hand its connection to the shelves; a shelf never commits. The request path has
connections of its own (`gate`, `settlement`), because it groups many requests into one round trip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tollkeeper.domain.errors import InvalidInput, StoreUnavailable

_decoder = json.JSONDecoder(parse_float=Decimal)


def load_json(data: str | bytes) -> Any:
    """JSON out of the database with exact numbers: a fraction becomes a `Decimal`, never a float."""
    return _decoder.decode(data if isinstance(data, str) else data.decode())


set_json_loads(load_json)

_COPIED_AT_ONCE = 1_000
_COPY_SIGNS = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Way:
    """How PostgreSQL is reached: a URL that libpq reads, and what a connection is opened with."""

    url: str
    arguments: dict[str, Any]


def way_to(url: str, schema: str | None, *options: str) -> Way:
    """How to reach the database that a setting names, with options such as `-c enable_seqscan=off` for each session.

    Every session is in UTC, so that no setting of the server changes a period, and in our schema. `pgbouncer=true` in the URL
    means a pooler that gives each transaction another session: nothing is prepared then, and no options are sent, because the
    role's own have to say them; `InvalidInput` where a schema is set, too.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    if ("pgbouncer", "true") not in query:
        path = () if schema is None else (f"-c search_path={schema}",)
        return Way(url, {"options": " ".join(("-c timezone=UTC", *path, *options))})
    if schema is not None:
        raise InvalidInput("TOLLKEEPER_DB_SCHEMA", "no value beside pgbouncer=true: set the role's search_path instead")
    kept = urlencode([pair for pair in query if pair[0] != "pgbouncer"])
    return Way(urlunsplit(parts._replace(query=kept)), {"prepare_threshold": None})


def sqlalchemy_url(way: Way) -> str:
    """The URL in SQLAlchemy's form."""
    return "postgresql+psycopg://" + way.url.removeprefix("postgresql://")


class Database:
    """PostgreSQL for services: synchronous, pooled, one transaction at a time."""

    def __init__(self, url: str, schema: str | None = None) -> None:
        way = way_to(url, schema)
        self._engine = create_engine(
            sqlalchemy_url(way),
            pool_size=4,
            max_overflow=4,
            pool_pre_ping=True,
            connect_args={**way.arguments, "connect_timeout": 5, "application_name": "tollkeeper"},
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
    result = connection.execute(text(statement), parameters)
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


def change(connection: Connection, statement: str, **parameters: object) -> int:
    """Run a statement that returns nothing; how many rows it changed."""
    return connection.execute(text(statement), parameters).rowcount


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Add many rows to a table, each value as PostgreSQL reads it from text: the cheapest way into it, for both sides."""
    driver = connection.connection.driver_connection
    assert driver is not None, "the transaction has begun"
    lines = map(_copied, rows)
    # Constants, no values: those go through the stream.
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            while block := list(islice(lines, _COPIED_AT_ONCE)):
                copy.write("\n".join(block) + "\n")
    except psycopg.Error as error:  # as it would be raised by any other statement
        raise DBAPIError.instance(statement, None, error, psycopg.Error) from error


def _copied(row: Sequence[str | None]) -> str:
    """A row in the text form of `COPY`, in which nothing and a few characters have signs of their own."""
    everything = "".join(filter(None, row))
    if not everything.isprintable() or "\\" in everything:
        row = [None if value is None else value.translate(_COPY_SIGNS) for value in row]
    return "\t".join(["\\N" if value is None else value for value in row])


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig is not None else type(error).__name__
