"""One database for a whole folder of tests, emptied before each: making one for every test takes longer than the tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from integration.closing.ledger import Ledger
from tollkeeper.embedded import Addresses
from tollkeeper.storage.database import Database

# Deleting is quicker than truncating. As a replica, no trigger and no foreign key stands in the way.
_EMPTY = """
SET session_replication_role = replica;
DO $$ DECLARE one regclass; BEGIN
    FOR one IN SELECT c.oid FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relname <> 'tollkeeper_alembic_version'
    LOOP EXECUTE format('DELETE FROM %s', one); END LOOP;
END $$
"""


@pytest.fixture(scope="package")
def shared_database(
    services: Addresses, _administration: psycopg.Connection, _migrated_template: str
) -> Iterator[Database]:
    name = f"tollkeeper_test_{uuid.uuid4().hex}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(_migrated_template)}
    _administration.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
    try:
        with Database(urlsplit(services.database_url)._replace(path=f"/{name}").geturl()) as database:
            yield database
    finally:
        _administration.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(name=names["name"]))


@pytest.fixture
def ledger(shared_database: Database) -> Ledger:
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        connection.execute(_EMPTY)
    return Ledger(shared_database)
