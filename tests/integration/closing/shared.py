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

_EMPTY = """
DELETE FROM webhook_events; DELETE FROM quota_alerts; DELETE FROM stripe_reports; DELETE FROM invoice_line_items;
DELETE FROM invoices; DELETE FROM holds; DELETE FROM usage_periods; DELETE FROM usage_events; DELETE FROM api_keys;
DELETE FROM customers; DELETE FROM plan_versions; DELETE FROM plans
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
