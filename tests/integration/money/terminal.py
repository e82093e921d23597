"""Commands as somebody types them, on the ledger's database and a clock that stands still."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from click.testing import CliRunner, Result

from integration.closing.ledger import Ledger
from tollkeeper.cli import main
from tollkeeper.runtime import Runtime
from tollkeeper.settings import read_settings
from tollkeeper.testing.clock import FrozenClock


class Terminal:
    """Runs commands; `json` gives the one document that a command prints."""

    def __init__(self, ledger: Ledger, at: datetime) -> None:
        self.clock = FrozenClock(at)
        settings = read_settings(database_url=ledger.database.url, redis_url="redis://localhost:1/0")
        self._runtime = Runtime(settings, clock=self.clock)

    def __call__(self, *arguments: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments, obj=self._runtime, catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        result = self(*arguments, "--json", exit_code=exit_code)
        assert result.stderr == ""
        return json.loads(result.stdout)
