from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.split import Share, Split, Vendor, largest_remainder


@pytest.mark.parametrize(
    ("total", "weights", "step", "parts"),
    [
        (
            100,
            [1, 1, 1],
            1,
            (34, 33, 33),
        ),  # 33.33 each: the cent left over goes to the first of three that lost the same
        (100, [1, 1, 1, 0], 1, (34, 33, 33, 0)),  # who has no weight gets no cent either
        (10, [5, 3, 2], 1, (5, 3, 2)),  # no remainder
        (7, [50, 30, 20], 1, (4, 2, 1)),  # 3.5, 2.1, 1.4: the first lost most
        (5, [Decimal("33.3"), Decimal("66.7")], 1, (2, 3)),  # 1.665 and 3.335: the first lost more
        (0, [1, 2], 1, (0, 0)),
        (1_000, [1, 2], 10, (330, 670)),  # in tens: 33.3 and 66.7 of a hundred
        (1_005, [1, 2], 10, (330, 675)),  # what is less than a step goes to the last
    ],
)
def test_parts_by_the_largest_remainder(total: int, weights: list[int], step: int, parts: tuple[int, ...]) -> None:
    assert largest_remainder(total, weights, step) == parts


@given(
    st.integers(0, 10**12),
    st.lists(st.decimals(0, 100, places=4), min_size=1, max_size=12).filter(any),
    st.sampled_from([1, 10, 100]),
)
def test_parts_add_up_and_none_is_further_off_than_a_step(total: int, weights: list[Decimal], step: int) -> None:
    parts = largest_remainder(total, weights, step)
    assert sum(parts) == total
    for part, weight in zip(parts[:-1], weights[:-1], strict=True):
        assert abs(part - total * weight / sum(weights)) < 2 * step


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, []), (1, [0, 0]), (1, [2, -1])])
def test_what_cannot_be_split_is_refused(total: int, weights: list[int]) -> None:
    with pytest.raises(InvalidInput):
        largest_remainder(total, weights)


def test_the_platform_has_its_fee_first_and_what_the_vendors_leave() -> None:
    # 10.33 less 0.30 leaves 10.03: 80 % are 8.024, 15 % are 1.5045, 5 % stay
    split = Split((Vendor("acct_a", Decimal(80)), Vendor("acct_b", Decimal(15))), fee=30)
    assert split.shares(1033) == (Share("acct_a", 802), Share("acct_b", 151))
    assert split.shares(20) == (Share("acct_a", 0), Share("acct_b", 0)), "less than the fee is all the platform's"


def test_vendors_who_get_everything_leave_nothing() -> None:
    split = Split((Vendor("acct_a", Decimal("66.6")), Vendor("acct_b", Decimal("33.4"))))
    assert sum(share.amount for share in split.shares(101)) == 101


def test_vendors_cannot_get_more_than_there_is() -> None:
    with pytest.raises(InvalidInput):
        Split((Vendor("acct_a", Decimal(60)), Vendor("acct_b", Decimal("40.1"))))
    with pytest.raises(InvalidInput):
        Split(())


def test_a_split_survives_the_database() -> None:
    split = Split((Vendor("acct_a", Decimal("66.666")),), fee=30)
    assert Split.from_json(split.to_json()) == split
    assert str(split) == "66.666 % to acct_a, after a fee of 30"
