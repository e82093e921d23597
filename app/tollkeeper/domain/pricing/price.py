"""What a price is: which usage it is for, and its tiers. What it makes of a quantity is in one file per kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import as_decimal, round_half_away
from tollkeeper.domain.usage import QUANTITY_PLACES, REQUESTS, TOKEN_TYPES

ANY_TOKEN = "*"  # noqa: S105 - a pattern, no secret

COST_PLACES = 12
"""Decimals of a running cost in minor units: as many as Stripe takes for a unit amount, and few enough that sums up to
10^16 minor units fit the 28 digits of Python's decimal context."""
FINE: int = 10**COST_PLACES
"""How many fine units a minor unit has. Rates and charges are counted in fine units, because they are then whole
numbers, exact and quick, for every price with a finite decimal form that fits; a price per 3 or 60 may be a fraction."""

Number: TypeAlias = int | Fraction
Kind = Literal["per_unit", "package", "graduated", "volume"]
TiersMode = Literal["graduated", "volume"]


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a price: up to and including `up_to` units (None: no end), in minor units per the price's `per`."""

    up_to: int | None
    price: Decimal
    flat_fee: Decimal = Decimal(0)


@dataclass(frozen=True)
class Price:
    """How usage of some models and one meter becomes money.

    `meter` is a token type, `"*"` for all four, `compute_minutes`, `requests`, or a unit of the app's own. Tiers hold
    upper bounds alone, so gaps and overlaps cannot be written down. `rates` (for one unit) and `fees` are in fine
    units.
    """

    model: str
    meter: str
    tiers: tuple[Tier, ...]
    mode: TiersMode = "graduated"
    per: int = 1
    round_up: bool = False
    stripe_meter: str | None = None
    rates: tuple[Number, ...] = field(init=False, repr=False, compare=False)
    fees: tuple[Number, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bounds = [tier.up_to for tier in self.tiers]
        if not bounds or bounds[-1] is not None or None in bounds[:-1]:
            raise InvalidInput("tiers", "a last tier without end, and only that one")
        if any(type(bound) is not int for bound in bounds[:-1]):
            raise InvalidInput("tiers", "bounds that are whole numbers")
        if any(lower >= upper for lower, upper in pairwise([0, *(bound or 0 for bound in bounds[:-1])])):
            raise InvalidInput("tiers", "bounds that ascend from 1")
        if not all(_is_amount(amount) for tier in self.tiers for amount in (tier.price, tier.flat_fee)):
            raise InvalidInput("tiers", "prices and fees that are a Decimal and not negative")
        if self.round_up and len(bounds) > 1:
            raise InvalidInput("round_up", "a single tier")
        if type(self.per) is not int or self.per < 1:
            raise InvalidInput("per", "a whole number from 1")
        object.__setattr__(self, "rates", tuple(_fine(tier.price, self.per) for tier in self.tiers))
        object.__setattr__(self, "fees", tuple(_fine(tier.flat_fee, 1) for tier in self.tiers))

    @cached_property
    def kind(self) -> Kind:
        """Which of the files beside this one turns the quantity into money."""
        if self.round_up:
            return "package"
        return self.mode if len(self.tiers) > 1 else "per_unit"

    @cached_property
    def unit_amounts(self) -> tuple[Decimal, ...]:
        """What one unit costs in each tier, in minor units, without the flat fee."""
        return tuple(as_decimal(Fraction(rate, FINE)) for rate in self.rates)

    @cached_property
    def wordings(self) -> dict[tuple[int, str], tuple[str, str]]:
        """What lines say before and after their quantity, by tier and currency; filled by whoever words them."""
        return {}

    @cached_property
    def counts_tokens(self) -> bool:
        """Whether this is a price for tokens, so that included tokens come off its quantity."""
        return self.meter == ANY_TOKEN or self.meter in TOKEN_TYPES

    @property
    def counts_whole_units(self) -> bool:
        """Whether its quantities are whole numbers; minutes and the app's own units need not be."""
        return self.counts_tokens or self.meter == REQUESTS

    @cached_property
    def costs_whole_fine_units(self) -> bool:
        """Whether no cost of this price is ever rounded to a fine unit, whatever the quantity."""
        finest_quantity = 1 if self.counts_whole_units else 10**QUANTITY_PLACES
        return all(rate % finest_quantity == 0 for rate in self.rates) and all(fee % 1 == 0 for fee in self.fees)

    @cached_property
    def begins_free(self) -> bool:
        """Whether the first units cost nothing."""
        return self.rates[0] == 0 and self.fees[0] == 0

    @cached_property
    def dearest_from(self) -> tuple[Number, ...]:
        """By tier: the highest rate of it and those after it."""
        return tuple(max(self.rates[tier:]) for tier in range(len(self.rates)))

    @cached_property
    def charges_fees(self) -> bool:
        """Whether some tier has a flat fee."""
        return any(self.fees)

    @property
    def event_name(self) -> str:
        """The meter at Stripe that this price's quantities are reported to."""
        if self.stripe_meter is not None:
            return self.stripe_meter
        return "ai_tokens" if self.counts_tokens else self.meter

    def charge(self, piece: Slice) -> Number:
        """What a slice costs with its tier's flat fee, in fine units."""
        return self.rates[piece.tier] * piece.charged + self.fees[piece.tier]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, decimals as strings."""
        return {
            "model": self.model,
            "meter": self.meter,
            "mode": self.mode,
            "per": self.per,
            "round_up": self.round_up,
            "stripe_meter": self.stripe_meter,
            "tiers": [
                {"up_to": tier.up_to, "price": f"{tier.price:f}", "flat_fee": f"{tier.flat_fee:f}"}
                for tier in self.tiers
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Price:
        """The price that `to_json` wrote."""
        tiers = tuple(Tier(t["up_to"], written(t["price"]), written(t["flat_fee"])) for t in value["tiers"])
        return cls(**{**value, "tiers": tiers})


def written(text: object) -> Decimal:
    """A decimal out of JSON, where it must be a string: a JSON number may have been through a float."""
    if not isinstance(text, str):
        raise TypeError(f"a decimal as a string, not {type(text).__name__}")
    return Decimal(text)


class Slice(NamedTuple):
    """The part of a price's quantity that one tier prices, and the units charged for, which differ for packages."""

    tier: int
    quantity: Number
    charged: Number


def rounded(fine: Number, step: int) -> int:
    """Fine units as minor units: the nearest multiple of the currency's step, halves away from zero."""
    return round_half_away(fine, step * FINE) // FINE


def fine_of(amount: Decimal | int) -> int:
    """An amount of minor units with at most `COST_PLACES` decimals, in fine units."""
    return amount * FINE if isinstance(amount, int) else int(Fraction(amount) * FINE)


def minor_text(fine: int) -> str:
    """Fine units as a plain decimal number of minor units."""
    whole, rest = divmod(abs(fine), FINE)
    sign = "-" if fine < 0 else ""
    return f"{sign}{whole}.{rest:0{COST_PLACES}d}".rstrip("0") if rest else f"{sign}{whole}"


def _is_amount(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and value >= 0


def _fine(amount: Decimal, per: int) -> Number:
    fine = Fraction(amount) * FINE / per
    return int(fine) if fine.denominator == 1 else fine
