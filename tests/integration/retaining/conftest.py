from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.closing.ledger import Ledger
from tollkeeper.storage.database import Database


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """On a database of its own, whose partitions come and go."""
    with Database(database_url) as database:
        yield Ledger(database)
