"""`docs/how-to/monitoring.md` names every series there is, and no other; its logging example works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tollkeeper import billing_routes
from tollkeeper.settings import read_settings
from tollkeeper.testing import FrozenClock

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "monitoring.md"


@pytest.fixture
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_series_and_no_other(
    text: str, migrated_database_url: str, redis_url: str, tmp_path: Path, clock: FrozenClock
) -> None:
    settings = read_settings(database_url=migrated_database_url, redis_url=redis_url, journal_dir=tmp_path)
    with TestClient(billing_routes(settings=settings, clock=clock)) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("tollkeeper_") and not family.name.endswith("_created")
    }
    tables = "\n".join(line for line in text.splitlines() if line.startswith("|"))

    assert set(re.findall(r"`(tollkeeper_[a-z_]+)`", tables)) == told


def test_the_logging_example_prints_json(text: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = example + 'logging.getLogger("tollkeeper.x").info("hello", extra={"request_id": "r1"})\n'
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    line = json.loads(done.stderr)
    assert (line["logger"], line["message"], line["request_id"]) == ("tollkeeper.x", "hello", "r1")
