"""Bounding: the most that a request can cost, before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tollkeeper.domain.account import Account
from tollkeeper.domain.hold import NEVER_FREE, Bound
from tollkeeper.domain.pricing import bound_at, free_tokens
from tollkeeper.storage.gate import StoredHold


class Bounds:
    """Bounds for requests, with one guess of output tokens for those that state no limit."""

    def __init__(self, hold_tokens: int) -> None:
        self._hold_tokens = hold_tokens

    def of(self, account: Account, model_id: str | None, tokens_in: int, tokens_out: int | None) -> Bound:
        """The bound of a request at its customer's present position in the tiers; `tokens_out` of None states no limit."""
        plan = account.plan
        soft = tokens_out is None
        if tokens_out is None:
            tokens_out = max(1, self._hold_tokens if plan.hold_tokens is None else plan.hold_tokens)
        others = plan.tariff.uncounted(model_id)
        # What is free is decided where all requests in flight are known, not here: see `free_until`.
        amount = bound_at(account.position, model_id, tokens_in, tokens_out, others)
        return Bound(amount, soft or len(others) > 1, tokens_in + tokens_out, _free_until(account, model_id))

    def of_hold(self, account: Account, hold: StoredHold) -> Bound:
        """The bound of a request that is known by its hold alone."""
        return self.of(account, hold.model_id, hold.tokens_in, hold.tokens_out)

    def of_all(
        self, account: Account, holds: Iterable[StoredHold], tokens_used: int
    ) -> Iterator[tuple[StoredHold, int, int]]:
        """Each hold with the money (fine units) and the tokens that it sets aside when they are placed one after another."""
        taken = tokens_used
        for hold in holds:
            bound = self.of_hold(account, hold)
            taken += bound.tokens
            yield hold, 0 if taken <= bound.free_until else bound.amount, bound.tokens


def _free_until(account: Account, model_id: str | None) -> int:
    if not account.plan.tariff.has_free_tokens:
        return NEVER_FREE
    left = free_tokens(account.plan.tariff, model_id, account.position)
    return account.tokens + left if left else NEVER_FREE
