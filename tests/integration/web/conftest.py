from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from integration.closing.ledger import Ledger
from integration.closing.shared import ledger, shared_database
from tollkeeper import billing_routes
from tollkeeper.settings import read_settings
from tollkeeper.testing import FrozenClock

__all__ = ["ledger", "shared_database"]

Visit = Callable[..., TestClient]


@pytest.fixture
def visit(ledger: Ledger, clock: FrozenClock) -> Iterator[Visit]:
    """Opens the pages, mounted in an app as hosts mount them; arguments are those of `billing_routes`, `settings` apart."""
    opened: list[TestClient] = []

    def open_pages(settings: dict[str, Any] | None = None, **arguments: Any) -> TestClient:
        here = read_settings(**{"database_url": ledger.database.url, **(settings or {})})
        app = Starlette(routes=[Mount("/billing", billing_routes(settings=here, clock=clock, **arguments))])
        opened.append(TestClient(app, raise_server_exceptions=False, base_url="http://testserver/billing/"))
        return opened[-1]

    yield open_pages
    for client in opened:
        client.close()
