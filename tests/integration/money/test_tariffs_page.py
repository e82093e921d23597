"""docs/tariffs.md, run: every plan file applied, its usage metered, and its invoice compared with the one on the page."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from integration.closing.ledger import NOVEMBER, Ledger
from integration.money.terminal import Terminal

PAGE = Path(__file__).parents[3] / "docs" / "tariffs.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tariffs() -> list[tuple[str, str, str]]:
    """Plan file, usage and invoice of each section."""
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [kind for kind, _ in blocks] == ["toml", "json", "invoice"] * 3
    texts = [text for _, text in blocks]
    return list(zip(texts[::3], texts[1::3], texts[2::3], strict=True))


@pytest.mark.parametrize("number", range(3))
def test_a_tariff_on_the_page_produces_the_invoice_on_the_page(ledger: Ledger, number: int) -> None:
    plan, usage, invoice = tariffs()[number]
    ledger.plan(plan)
    ledger.customer(plan=plan.split("]")[0].split(".")[1])
    for minute, line in enumerate(usage.splitlines()):
        event = json.loads(line)
        ledger.use(at=NOVEMBER + timedelta(days=3, minutes=minute), model=event.pop("model_id"), **event)
    ledger.close()
    shown = Terminal(ledger, NOVEMBER)("invoices", "show", str(ledger.invoices()[0]["id"])).stdout
    assert shown.split("\n\n", 1)[1] == invoice
