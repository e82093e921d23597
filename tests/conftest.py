"""What the whole suite shares: real servers, a database of its own for each test, and a clock that stands still.

The servers are those of `DATABASE_URL` and `REDIS_URL` where these are set, else embedded ones. Of a PostgreSQL that was
named only databases made here are touched (so its user must be allowed to make some), of a Redis only database 15, and those
just below it where several processes run the tests.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from tollkeeper.embedded import Addresses, services_from_environment
from tollkeeper.testing.clock import FrozenClock

# Each process of pytest-xdist (gw0, gw1, …) has one of its own: a test empties it before it begins.
_REDIS_DATABASE = 15 - int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def services() -> Iterator[Addresses]:
    """One PostgreSQL and one Redis for all tests; a test that stalls or kills a server starts one of its own."""
    with services_from_environment(fsync=False) as addresses:
        yield addresses


@pytest.fixture
def empty_database_url(services: Addresses, _administration: psycopg.Connection) -> Iterator[str]:
    """A database with nothing in it, dropped after the test."""
    with _database(_administration, template="template1") as name:
        yield _at(services.database_url, name)


@pytest.fixture
def migrated_database_url(
    services: Addresses, _administration: psycopg.Connection, _migrated_template: str
) -> Iterator[str]:
    """A database with the newest schema and no rows, dropped after the test."""
    with _database(_administration, template=_migrated_template) as name:
        yield _at(services.database_url, name)


@pytest.fixture
def database_url(migrated_database_url: str) -> str:
    """What most tests mean by a database: one with the schema."""
    return migrated_database_url


@pytest.fixture
def redis_url(services: Addresses) -> str:
    """A Redis database with nothing in it."""
    url = _at(services.redis_url, str(_REDIS_DATABASE))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def clock() -> FrozenClock:
    """Noon in the middle of a month of 30 days."""
    return FrozenClock(datetime(2026, 11, 15, 12, tzinfo=UTC))


@pytest.fixture(scope="session")
def _administration(services: Addresses) -> Iterator[psycopg.Connection]:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def _migrated_template(services: Addresses, _administration: psycopg.Connection) -> Iterator[str]:
    from tollkeeper.storage.migrating import upgrade  # here, so that unit tests alone do not wait for it

    with _database(_administration, template="template1") as name:
        upgrade(_at(services.database_url, name))
        yield name


@contextmanager
def _database(administration: psycopg.Connection, template: str) -> Iterator[str]:
    name = f"tollkeeper_test_{uuid.uuid4().hex}"
    identifiers = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    administration.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**identifiers))
    try:
        yield name
    finally:
        administration.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**identifiers))


def _at(url: str, path: str) -> str:
    return urlsplit(url)._replace(path=f"/{path}").geturl()
