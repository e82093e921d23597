"""A slice of `python benchmarks/payments_chaos.py`."""

from __future__ import annotations

import pytest

from integration.closing.ledger import Ledger
from integration.collecting.chaos import MODES, Life, Mode


# 42: reports that Stripe took and did not count miss its invoice one after the other
@pytest.mark.parametrize("seed", [*range(5), 42])
@pytest.mark.parametrize("mode", MODES)
def test_whatever_goes_wrong_in_whatever_order_stripe_asks_once_for_what_is_owed(
    ledger: Ledger, mode: Mode, seed: int
) -> None:
    assert Life(ledger, seed, mode).live().wrong == []
