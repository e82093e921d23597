"""Exact sums, and the one way in which they become whole minor units.

Inside a calculation everything is a `Fraction`; it leaves as an integer of minor units (rounded once) or as a
`Decimal`. `Decimal` is never used to calculate, because its context silently keeps 28 digits.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from tollkeeper.domain.errors import InvalidInput, TollkeeperError

BIGINT_MAX = 2**63 - 1
MAX_POWER = 1_000
"""A `Decimal` of a few characters can stand for a million digits; nothing here needs a thousand."""


class AmountTooLarge(TollkeeperError):
    """An amount of money or a quantity does not fit the database's bigint."""

    def __init__(self, amount: int) -> None:
        super().__init__(f"an amount of {len(str(abs(amount)))} digits does not fit 64 bits")
        self.amount = amount


def exact(value: Fraction | Decimal | int) -> Fraction:
    """The same number as a fraction; floats, booleans, NaN and infinity are refused with `InvalidInput`."""
    if isinstance(value, Decimal) and not _is_reasonable(value):
        raise InvalidInput("amount", "a finite number of reasonable length")
    if isinstance(value, bool) or not isinstance(value, Fraction | Decimal | int):
        raise InvalidInput("amount", f"an integer, Decimal or Fraction, not {type(value).__name__}")
    return Fraction(value)


def as_number(value: Fraction | Decimal | int) -> Fraction | int:
    """The same number, as an integer where it is one: integers are some ten times as quick as fractions."""
    if type(value) is int:
        return value
    number = exact(value)
    return number.numerator if number.denominator == 1 else number


def round_half_away(value: Fraction | Decimal | int, step: int = 1) -> int:
    """The nearest multiple of `step`; a half goes away from zero, for refunds as for charges."""
    if type(value) is int:  # most are, and a fraction costs ten times as much
        half_up = (2 * abs(value) + step) // (2 * step) * step
        return half_up if value >= 0 else -half_up
    number = exact(value)
    half_up = (2 * abs(number.numerator) + number.denominator * step) // (2 * number.denominator * step) * step
    return half_up if number >= 0 else -half_up


def bigint(amount: int) -> int:
    """The amount itself, or `AmountTooLarge` where 64 bits with a sign do not hold it."""
    if abs(amount) > BIGINT_MAX:
        raise AmountTooLarge(amount)
    return amount


def decimal_of(count: int, places: int) -> Decimal:
    """`count` units of the last of `places` decimals, without trailing zeros and whatever the number of digits."""
    while places > 0 and count % 10 == 0:
        count, places = count // 10, places - 1
    return Decimal(f"{count}E-{places}")


def as_decimal(value: Fraction | Decimal | int, places: int = 18) -> Decimal:
    """The number with at most `places` decimals, rounded half away from zero where it has more."""
    if type(value) is int:
        return Decimal(value)
    return decimal_of(round_half_away(exact(value) * 10**places), places)


def _is_reasonable(value: Decimal) -> bool:
    power = value.as_tuple().exponent
    return isinstance(power, int) and power > -MAX_POWER and value.adjusted() < MAX_POWER
