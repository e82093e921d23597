"""Previews say what the close then drafts; explanations lead back to the very events."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import NotFound
from tollkeeper.services.explaining import explain
from tollkeeper.services.previewing import PeriodNotBillable, preview

MIDDLE = NOVEMBER + timedelta(days=15)


def test_a_previews_usage_is_the_spend_that_the_cap_is_measured_against_and_what_the_close_drafts(
    ledger: Ledger,
) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=700_000, tokens_out=100_001)
    ledger.use(tokens_in=333_333, model="gpt-4o-mini")

    found = preview(ledger.database, "ada", at=MIDDLE)

    # 1,133,334 tokens: 100,000 free, 900,000 at 0.3 cents for 1,000, 133,334 at 0.2 cents for 1,000 = 26.6668.
    assert found.usage_amount == ledger.period()["spent"] == 270 + 27
    ledger.close()
    [invoice] = ledger.invoices()
    assert invoice["total_amount"] == found.total_amount
    assert ledger.lines() == [(one.kind, one.model_id, one.token_type, one.quantity, one.amount) for one in found.lines]


def test_a_preview_carries_late_usage_and_negative_totals_as_the_close_will(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    ledger.close()
    ledger.use(tokens_in=5, stored=DECEMBER + timedelta(days=3))  # of November, and late
    ledger.use(tokens_in=7, at=DECEMBER + timedelta(days=3))

    found = preview(ledger.database, "ada", at=DECEMBER + timedelta(days=4))

    assert [(line.kind, line.amount) for line in found.lines] == [("usage", 7), ("late_usage", 5)]
    assert found.usage_amount == 7
    ledger.close(JANUARY)
    assert ledger.invoices()[-1]["total_amount"] == found.total_amount == 12


def test_a_preview_stores_nothing(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    ledger.use(tokens_in=3)
    before = ledger.period()
    assert preview(ledger.database, "ada", at=MIDDLE).total_amount == 9_903
    assert (ledger.period(), ledger.invoices()) == (before, [])


def test_a_preview_of_a_period_without_usage_is_its_base_fee(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    found = preview(ledger.database, "ada", at=MIDDLE)
    assert [(line.kind, line.amount) for line in found.lines] == [("base_fee", 9_900)]
    assert (found.usage_amount, found.projected_usage_amount) == (0, 0)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        # 450,000 tokens by noon of the 8th; one quarter of 30 days has passed after 7.5 days: 1,800,000 by the end.
        # 100,000 free, 900,000 at 0.3 cents for 1,000 = 270, 800,000 at 0.2 cents for 1,000 = 160.
        (NOVEMBER + timedelta(days=7, hours=12), 430),
        # Half has passed: 900,000 by the end, 800,000 of them at 0.3 cents for 1,000.
        (NOVEMBER + timedelta(days=15), 240),
    ],
)
def test_the_projection_walks_the_tiers_that_will_be_reached(ledger: Ledger, at: datetime, expected: int) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=450_000, at=NOVEMBER + timedelta(days=3))
    assert preview(ledger.database, "ada", at=at).projected_usage_amount == expected


def test_a_period_that_the_close_would_park_is_not_previewed(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=3)
    ledger.run("UPDATE usage_periods SET totals = '{}'")
    with pytest.raises(PeriodNotBillable, match="3 in the events, 0 in the running totals"):
        preview(ledger.database, "ada", at=MIDDLE)


def test_a_preview_of_nobody_is_refused(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        preview(ledger.database, "nobody", at=MIDDLE)


def test_an_explanation_names_tier_price_version_and_the_sum(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=1_133_334)
    ledger.close()
    found = explain(ledger.database, ledger.invoices()[0]["id"])
    assert [(one.tier, one.plan_id, one.plan_version) for one in found.lines] == [(n, "tiered", 1) for n in (1, 2, 3)]
    assert [one.arithmetic for one in found.lines] == [
        "100,000 × $0.00 / 1,000 = $0.00",
        "900,000 × $0.003 / 1,000 = $2.70",
        "133,334 × $0.002 / 1,000 = $0.266668, rounded half away from zero to $0.27",
    ]


KINDS = """
[plans.kinds]
currency = "usd"
base_fee = "1.00"
discount_percent = "10"
[[plans.kinds.prices]]
model = "packed"
per = 1_000
round_up = true
price = "0.50"
[[plans.kinds.prices]]
model = "voluminous"
tiers_mode = "volume"
tiers = [
  { up_to = 10, price = "0.10" },
  { up_to = "inf", price = "0.05", flat_fee = "2.00" },
]
"""


def test_packages_volume_tiers_fees_and_discounts_are_explained(ledger: Ledger) -> None:
    ledger.plan(KINDS)
    ledger.customer(plan="kinds")
    ledger.use(tokens_in=2_001, model="packed")
    ledger.use(tokens_in=20, model="voluminous")
    ledger.close()
    found = explain(ledger.database, ledger.invoices()[0]["id"])
    assert [(one.line.kind, one.tier, one.arithmetic) for one in found.lines] == [
        ("usage", 1, "2,001 begin 3 packages of 1,000; 3 × $0.50 = $1.50"),
        ("usage", 2, "20 × $0.05 + $2.00 once = $3.00"),
        ("adjustment", None, "what the usage lines above are changed by: -$0.45"),
        ("base_fee", None, "the base fee for the period, or for its share of the time: $1.00"),
    ]
    assert found.lines[3].events_sql is None


def test_the_statement_of_a_line_lists_its_very_events(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer("o'neil")
    mine = ledger.use("o'neil", tokens_in=10)
    ledger.use("o'neil", tokens_in=1, at=DECEMBER)  # the end is not part of the period
    ledger.close()
    late = ledger.use("o'neil", tokens_in=5, stored=DECEMBER + timedelta(days=3))
    ledger.close(JANUARY)

    lines = [
        one
        for invoice in ledger.invoices("o'neil")
        for one in explain(ledger.database, invoice["id"]).lines
        if one.line.period.start == NOVEMBER
    ]
    assert [(one.line.kind, one.line.quantity) for one in lines] == [("usage", Decimal(10)), ("late_usage", Decimal(5))]
    listed = [[row["id"] for row in ledger.rows((one.events_sql or "").replace(":", r"\:"))] for one in lines]
    assert listed == [[mine.id], [late.id]]


def test_the_commands_print_what_the_services_found(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=450_000, at=NOVEMBER + timedelta(days=3))
    terminal = Terminal(ledger, MIDDLE)
    document = terminal.json("invoices", "preview", "ada")
    assert (document["usage_amount"], document["projected_usage_amount"], document["currency"]) == (105, 240, "usd")
    assert terminal("invoices", "preview", "ada").stdout.splitlines()[-2:] == [
        "usage so far                       $1.05",
        "at this rate, by the period's end  $2.40",
    ]
    ledger.close()
    invoice = str(ledger.invoices()[0]["id"])
    assert terminal.json("invoices", "explain", invoice)["lines"][1]["arithmetic"] == "350,000 × $0.003 / 1,000 = $1.05"
    assert "plan tiered version 1, tier 2" in terminal("invoices", "explain", invoice).stdout
    assert terminal("invoices", "explain", "seven", exit_code=2).stderr == "tollkeeper: no invoice 'seven'\n"
