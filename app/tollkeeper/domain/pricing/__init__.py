"""Pricing: how quantities become money. One file per kind of price, one list for the order of the steps.

`price` is what a price is; `per_unit`, `package`, `graduated` and `volume` turn a quantity into money; `matching`
chooses the price; `steps` is the order of allowance, price, discount, maximum and minimum; `rating` runs it; `position`
keeps its figures up event by event; `bound` is what a hold sets aside.
"""

from tollkeeper.domain.pricing.bill import Bill, LineKind, RatedLine
from tollkeeper.domain.pricing.bound import bound_at, upper_bound
from tollkeeper.domain.pricing.free import free_tokens
from tollkeeper.domain.pricing.position import Position
from tollkeeper.domain.pricing.price import ANY_TOKEN, COST_PLACES, FINE, Price, Tier, fine_of, minor_text
from tollkeeper.domain.pricing.rating import price_for, rate, running_cost, usage_amount
from tollkeeper.domain.pricing.tariff import Tariff

__all__ = [
    "ANY_TOKEN",
    "COST_PLACES",
    "FINE",
    "Bill",
    "LineKind",
    "Position",
    "Price",
    "RatedLine",
    "Tariff",
    "Tier",
    "bound_at",
    "fine_of",
    "free_tokens",
    "minor_text",
    "price_for",
    "rate",
    "running_cost",
    "upper_bound",
    "usage_amount",
]
