"""What a collector of invoices must be able to do: the port behind which Stripe's invoices and Paystack's requests stand.

A collector is stateless. It never raises for anything that the other side or the network did: what comes back is an answer,
or one of the troubles of `outcome`. Who calls it keeps a ledger, and asks `find` before it does anything a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from tollkeeper.domain.demand import Demand
from tollkeeper.payments.outcome import Trouble

CollectorStatus = Literal["draft", "open", "paid", "void", "uncollectible"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One invoice as it stands at the collector. `total` is before tax and before what the customer has in credit there."""

    external_id: str
    status: CollectorStatus
    total: int
    currency: str


class InvoiceCollector(Protocol):
    """One way of collecting invoices.

    The steps are `find`, `open`, `fill`, `issue`; any of them may be repeated, and none may have an effect twice. `key` is
    the same whenever a call is repeated and another one once the ledger knows that a stored failure blocks it; a collector
    without idempotency keys does without, because `find` comes before. Paystack, say: `open` makes a draft payment request
    with all its lines, `fill` has nothing left to do, `issue` finalizes it.
    """

    name: ClassVar[str]
    most_lines: ClassVar[int]
    """How many lines one invoice takes there."""

    def find(self, demand: Demand, external_id: str | None) -> tuple[Standing, ...] | Trouble:
        """What is there of this demand: the invoice of that id, or where none is known, all that carry ours; not deleted ones."""
        ...

    def open(self, demand: Demand, key: str) -> Standing | Trouble:
        """Make a draft. Nobody is asked for money yet."""
        ...

    def fill(self, demand: Demand, draft: Standing, key: str, proceed: Callable[[], None]) -> Standing | Trouble:
        """Put on the draft what is missing and take off what does not belong, and read it again.

        `proceed` is called before each call that changes something, and raises where somebody else has taken over.
        """
        ...

    def issue(self, demand: Demand, draft: Standing, key: str) -> Standing | Trouble:
        """Make it final, so that it is charged or sent."""
        ...

    def discard(self, draft: Standing, key: str) -> Trouble | None:
        """Throw a draft away; None once it is gone, whoever did so."""
        ...
