"""Bounding: the most that a request can cost, before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from tollkeeper.domain.account import Account
from tollkeeper.domain.hold import NEVER_FREE, Bound
from tollkeeper.domain.pricing import Tariff, free_tokens, has_free_tokens, position_matters, upper_bound
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.storage.gate import StoredHold


class Bounds:
    """Bounds for requests, with one guess of output tokens for those that state no limit."""

    def __init__(self, hold_tokens: int) -> None:
        self._hold_tokens = hold_tokens

    def of(self, account: Account, facts: RequestFacts) -> Bound:
        """The bound of a request at its customer's present position in the tiers."""
        plan, tariff = account.plan, account.plan.tariff
        guess = max(1, self._hold_tokens if plan.hold_tokens is None else plan.hold_tokens)
        stated = facts.tokens_out_bound
        tokens_out = guess if stated is None else stated
        uncounted = _uncounted(tariff, facts.model_id)
        amount = upper_bound(
            tariff,
            facts.model_id,
            facts.tokens_in_bound,
            tokens_out,
            compute_minutes=1 if COMPUTE_MINUTES in uncounted else 0,
            units={meter: 1 for meter in uncounted if meter != COMPUTE_MINUTES},
            totals=account.totals if position_matters(tariff) else None,
            # What is free is decided where all requests in flight are known, not here: see `free_until`.
            held_tokens=tariff.included_tokens,
        )
        soft = stated is None or bool(uncounted)
        return Bound(amount, soft, facts.tokens_in_bound + tokens_out, _free_until(account, facts.model_id))

    def of_hold(self, account: Account, hold: StoredHold) -> Bound:
        """The bound of a request that is known by its hold alone."""
        return self.of(account, RequestFacts(hold.model_id, hold.tokens_in, hold.tokens_out, stream=False))

    def of_all(
        self, account: Account, holds: Iterable[StoredHold], tokens_used: int
    ) -> Iterator[tuple[StoredHold, Decimal, int]]:
        """Each hold with the money and the tokens that it sets aside when they are placed one after another."""
        taken = tokens_used
        for hold in holds:
            bound = self.of_hold(account, hold)
            taken += bound.tokens
            yield hold, Decimal(0) if taken <= bound.free_until else bound.amount, bound.tokens


def _free_until(account: Account, model_id: str | None) -> int:
    tariff = account.plan.tariff
    if not has_free_tokens(tariff):
        return NEVER_FREE
    left = free_tokens(tariff, model_id, account.totals)
    return account.tokens + left if left else NEVER_FREE


def _uncounted(tariff: Tariff, model_id: str | None) -> frozenset[str]:
    """Meters with a price for this model whose quantity nobody knows before the route has run."""
    meters = {price.meter for price in tariff.prices if not price.counts_tokens} - {REQUESTS}
    if model_id is None:
        return frozenset(meters)
    return frozenset(meter for meter in meters if tariff.price_of((model_id, meter)) is not None)
