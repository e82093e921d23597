"""The whole life of a customer on a frozen clock: from subscribing to the last invoice, all figures beside Stripe's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from integration.closing.ledger import Ledger
from tollkeeper.cli import main
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.rehearsal.figures import Figures
from tollkeeper.rehearsal.running import begins, live_in
from tollkeeper.runtime import Runtime
from tollkeeper.settings import read_settings
from tollkeeper.testing import FrozenClock, StripeStandIn


@pytest.mark.parametrize("today", [datetime(2026, 11, 24, 15, 20, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)])
def test_a_customers_life_comes_to_the_same_figures_on_both_sides(ledger: Ledger, today: datetime) -> None:
    clock = FrozenClock(begins(today))
    standin = StripeStandIn(clock)
    steps: list[str] = []
    with standin.serve() as server:
        payments = StripePayments(standin.api_key, api_base=server.url)
        figures = live_in(payments, ledger.database, clock, steps.append, patience=1)
    assert [row for row in figures.rows if not row.agrees] == []
    told = {row.what: row.ours for row in figures.rows}
    # 3.20 + 1.05 + 2.00 of usage and 20 + 20 + 50 of fees
    assert told["all invoices together"] == "$96.25"
    assert (told["1st period: tokens"], told["2nd period: tokens"], told["3rd period: tokens"]) == (
        "1250000",
        "450500",
        "2000000",
    )
    assert told["after the grace"] == "rehearsal-pro, throttled"
    assert [invoice["status"] for invoice in ledger.invoices("rehearsal")] == ["paid", "paid", "paid"]
    assert steps[-1] == "Cancel with the end of the third period"


def test_figures_that_differ_are_no_success() -> None:
    figures = Figures()
    assert not figures.ok
    figures.compare("tokens", 1, 1)
    assert figures.ok
    figures.compare("charged", 1, 2)
    assert not figures.ok


def test_a_live_key_is_refused_before_anything_is_started() -> None:
    for key in ("sk_live_1234567890", "whatever"):
        runtime = Runtime(read_settings(stripe_api_key=key))
        result = CliRunner().invoke(main, ["stripe", "rehearse"], obj=runtime, catch_exceptions=False)
        assert result.exit_code == 2
        assert "the key of a sandbox" in result.stderr
        assert key not in result.output
