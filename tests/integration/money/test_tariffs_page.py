"""docs/how-to/tariffs.md and the README's tariffs, run: each plan file applied, its usage metered, its invoice the one on the page."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.closing.ledger import NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.services.moving import move_customer

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "tariffs.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(toml|json|invoice)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Tariff(NamedTuple):
    plan: str
    usage: str
    invoice: str


def tariffs(text: str) -> list[Tariff]:
    """Plan file, usage and invoice of each section."""
    blocks = _BLOCK.findall(text)
    assert [kind for kind, _ in blocks] == ["toml", "json", "invoice"] * 3
    texts = [text for _, text in blocks]
    return [Tariff(*three) for three in zip(texts[::3], texts[1::3], texts[2::3], strict=True)]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its kind."""
    level = heading.split()[0]
    return text.split(f"\n{heading}\n")[1].split(f"\n{level} ")[0].split("\n## ")[0]


def use(ledger: Ledger, usage: str) -> None:
    for minute, line in enumerate(usage.splitlines()):
        event = json.loads(line)
        day = event.pop("day", 4)
        at = NOVEMBER + timedelta(days=day - 1, minutes=minute)
        ledger.use(at=at, model=event.pop("model_id"), **event)


def shown(ledger: Ledger) -> str:
    ledger.close()
    text = Terminal(ledger, NOVEMBER)("invoices", "show", str(ledger.invoices()[0]["id"])).stdout
    return text.split("\n\n", 1)[1]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("page", ["README", "docs"])
def test_a_tariff_on_a_page_produces_the_invoice_on_the_page(ledger: Ledger, page: str, number: int) -> None:
    text = PAGE.split("\n## A month in which the plan changes")[0]
    if page == "README":
        text = section(README, "### Three tariffs, and the invoices they make")
    plan, usage, invoice = tariffs(text)[number]
    ledger.plan(plan)
    ledger.customer(plan=plan.split("]")[0].split(".")[1])
    use(ledger, usage)
    assert shown(ledger) == invoice


def test_a_month_in_which_the_plan_changes_has_the_invoice_on_the_page(ledger: Ledger) -> None:
    """From the page's second tariff to its page's own plan, on the day that the page says."""
    blocks = dict(_BLOCK.findall(section(PAGE, "## A month in which the plan changes")))
    for plan in (tariffs(PAGE.split("\n## A month")[0])[1].plan, blocks["toml"]):
        ledger.plan(plan)
    ledger.customer(plan="tiered")
    use(ledger, blocks["json"])
    move_customer(ledger.database, "ada", "team", NOVEMBER, at=NOVEMBER + timedelta(days=15))
    assert shown(ledger) == blocks["invoice"]
