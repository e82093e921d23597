"""What a line says about itself, in words that a customer reads."""

from __future__ import annotations

from decimal import Decimal

from tollkeeper.domain.currency import display_price
from tollkeeper.domain.pricing.price import ANY_TOKEN, Price
from tollkeeper.domain.usage import TOKEN_TYPES


def usage(price: Price, tier: int, quantity: Decimal, currency: str) -> str:
    """`gpt-4o*, all tokens: 900,000 at $0.003 per 1,000 (tier 2, to 1,000,000)`."""
    key = (tier, currency)
    if key not in price.wordings:  # the same for every customer
        price.wordings[key] = (f"{_subject(price)}: ", _rest(price, tier, currency))
    before, after = price.wordings[key]
    return f"{before}{quantity:,f}{after}"


def _rest(price: Price, tier: int, currency: str) -> str:
    step = price.tiers[tier]
    parts = [f" at {display_price(step.price, currency)}"]
    if price.per > 1:
        parts.append(f" per {'begun ' if price.round_up else ''}{price.per:,}")
    if step.flat_fee:
        parts.append(f" and {display_price(step.flat_fee, currency)} once")
    if len(price.tiers) > 1:
        parts.append(f" (tier {tier + 1}, {_reach(price, tier)})")
    return "".join(parts)


def _subject(price: Price) -> str:
    models = "all models" if price.model == "*" else price.model
    return f"{models}, {_meter(price.meter)}"


def _meter(meter: str) -> str:
    if meter == ANY_TOKEN:
        return "all tokens"
    words = meter.replace("_", " ")
    return f"{words} tokens" if meter in TOKEN_TYPES else words


def _reach(price: Price, tier: int) -> str:
    bound = price.tiers[tier].up_to
    if bound is not None:
        return f"to {bound:,}"
    below = price.tiers[tier - 1].up_to
    return f"from {below + 1:,}" if below is not None else "without end"
