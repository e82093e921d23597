"""What the request path remembers of customers, so that the database need not say again what it said before.

Nothing in here is believed without asking. At the gate the database compares stamps and sends an account anew where one
differs; at the settlement totals are written only over the very row version that they were computed from. While the database
is away, accounts are served from here as they were last known.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from tollkeeper.domain.account import Account

CUSTOMERS_REMEMBERED = 10_000

Caller = bytes | str
"""Who sent a request: the hash of an API key, or the name that the host's own `identify` gave."""


class Stamps(NamedTuple):
    """The versions of the rows that an account was read from: the transactions that wrote them (PostgreSQL's `xmin`)."""

    customer: str
    plan: str
    period: str
    connection: int
    """The connection that read them. After a failover another server may use the same numbers for other versions."""


@dataclass(slots=True, eq=False)
class Known:
    """A customer as last read or written. Shared by all requests of the customer; the account in it is replaced as a whole."""

    account: Account
    revision: int
    """What an event stored now belongs to."""
    stamps: Stamps | None
    """None where the period has no row yet, or its newest version is not known."""


class Memory:
    """The customers that this process served last."""

    def __init__(self) -> None:
        self.connection = 0
        self._customers: OrderedDict[str, Known] = OrderedDict()
        self._names: OrderedDict[bytes, str] = OrderedDict()

    def of(self, caller: Caller) -> Known | None:
        """What is known of whoever calls by this key or name."""
        name = self._names.get(caller) if isinstance(caller, bytes) else caller
        return None if name is None else self._customers.get(name)

    def keep(self, caller: Caller, account: Account, revision: int, stamps: Stamps | None) -> Known:
        """Note what was just read. What this process has written meanwhile is newer, and stays."""
        known = self._customers.get(account.user_id)
        if known is None:
            known = self._customers[account.user_id] = Known(account, revision, stamps)
            _bound(self._customers)
        elif known.stamps is None or _is_newer(account, known.account):
            known.account, known.revision, known.stamps = account, revision, stamps
        if isinstance(caller, bytes):
            self._names[caller] = account.user_id
            _bound(self._names)
        return known

    def forget_stamps(self) -> None:
        """Compare nothing with what an earlier connection said."""
        self.connection += 1


def _is_newer(account: Account, known: Account) -> bool:
    return account.period.start != known.period.start or account.version >= known.version


def _bound(remembered: OrderedDict[str, Known] | OrderedDict[bytes, str]) -> None:
    if len(remembered) > CUSTOMERS_REMEMBERED:
        remembered.popitem(last=False)
