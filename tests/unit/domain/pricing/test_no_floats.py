"""No float gets into a sum by any door, whoever builds the pieces in Python: each is refused where it comes in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.domain.credit import Grant
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import as_decimal, as_number, exact, round_half_away
from tollkeeper.domain.pricing import Position, Price, Tariff, Tier, rate, running_cost, usage_amount
from tollkeeper.domain.usage import Usage

ONE = Decimal(1)
HALF: Any = 0.5
TARIFF = Tariff("usd", prices=(Price("*", "*", (Tier(None, ONE),)),))
USED: Any = {("m", "input"): HALF}


@pytest.mark.parametrize(
    "door",
    [
        lambda: exact(HALF),
        lambda: as_number(HALF),
        lambda: as_decimal(HALF),
        lambda: round_half_away(HALF),
        lambda: Usage("m", tokens_in=HALF),
        lambda: Usage("m", compute_minutes=HALF),
        lambda: Usage("m", units={"images": HALF}),
        lambda: Price("*", "*", (Tier(None, HALF),)),
        lambda: Price("*", "*", (Tier(None, ONE, HALF),)),
        lambda: Price("*", "*", (Tier(HALF, ONE), Tier(None, ONE))),
        lambda: Price("*", "*", (Tier(None, ONE),), per=HALF),
        lambda: Tariff("usd", base_fee=HALF),
        lambda: Tariff("usd", included_tokens=HALF),
        lambda: Tariff("usd", minimum=HALF),
        lambda: Tariff("usd", maximum=HALF),
        lambda: Tariff("usd", discount_percent=HALF),
        lambda: rate(TARIFF, USED),
        lambda: usage_amount(TARIFF, USED),
        lambda: running_cost(TARIFF, {}, USED),
        lambda: Position(TARIFF, USED),
        lambda: Position(TARIFF, {}).add(USED),
        lambda: Grant("g", "tokens", HALF, datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_a_float_is_refused(door: Callable[[], Any]) -> None:
    with pytest.raises(InvalidInput):
        door()
