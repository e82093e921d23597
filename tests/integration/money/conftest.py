from __future__ import annotations

import psycopg
import pytest

from integration.closing.ledger import Ledger
from integration.closing.shared import shared_database
from tollkeeper.storage.database import Database

__all__ = ["shared_database"]


@pytest.fixture
def ledger(shared_database: Database) -> Ledger:
    """A ledger on a database in which every table is empty."""
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        connection.execute("TRUNCATE plans, customers, holds, usage_events, webhook_events CASCADE")
    return Ledger(shared_database)
