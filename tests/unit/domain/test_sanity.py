"""The sanity bound: which bills a person should see first."""

from __future__ import annotations

import pytest

from tollkeeper.domain.sanity import NO_BOUND, SanityBound

BOUND = SanityBound(multiple=10, floor=5_000)


@pytest.mark.parametrize(
    ("charges", "history", "held_back"),
    [
        (60_000, [6_000, 2_000, 4_000], False),  # exactly ten times the largest
        (60_001, [6_000, 2_000, 4_000], True),
        (60_001, [6_000, 2_000], False),  # too few to measure against
        (5_000, [1, 1, 1], False),  # at the floor: small bills never park
        (5_001, [1, 1, 1], True),
        (5_001, [0, 0, 0], True),  # months without usage are history too
        (5_001, [-900, -900, -900], True),  # a negative month is no licence to bill
        (-90_000, [1, 1, 1], False),  # in the customer's favour
    ],
)
def test_a_bill_beyond_the_multiple_of_the_largest_one_is_held_back(
    charges: int, history: list[int], held_back: bool
) -> None:
    assert (BOUND.objection(charges, history, "usd") is not None) == held_back


def test_the_objection_says_what_is_compared() -> None:
    assert BOUND.objection(61_000, [6_000, 2_000, 4_000], "usd") == (
        "$610.00 is more than 10 times the largest of the last 3 invoices, $60.00"
    )


def test_a_multiple_of_zero_switches_it_off() -> None:
    assert NO_BOUND.objection(10**12, [1, 1, 1], "usd") is None
