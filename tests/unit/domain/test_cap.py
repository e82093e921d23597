"""The spend cap may be reached, and not passed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tollkeeper.domain.cap import fits


@pytest.mark.parametrize(
    ("spent", "held", "bound", "cap", "fit"),
    [
        (0, 0, 0, 0, True),  # a cap of nothing admits what is free
        (0, 0, "0.000000000001", 0, False),
        (4_999, 0, 1, 5_000, True),
        (4_999, "0.000000000001", 1, 5_000, False),
        (0, "4999.5", "0.5", 5_000, True),
        (5_001, 0, 0, 5_000, False),
        # 28 digits of a decimal context would round this down to the cap
        ("9999999999999999", "0", "1.000000000000000000000000000001", 10**16, False),
        (10**30, 10**30, 10**30, None, True),
    ],
)
def test_a_request_fits_while_everything_together_stays_within_the_cap(
    spent: str | int, held: str | int, bound: str | int, cap: int | None, fit: bool
) -> None:
    assert fits(Decimal(spent), Decimal(held), Decimal(bound), cap) is fit
