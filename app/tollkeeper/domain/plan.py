"""A plan: what a customer is sold. Its tariff is versioned; limits and habits are in force at the next request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Price, Tariff
from tollkeeper.domain.split import Split

__all__ = [
    "AtCap",
    "Collect",
    "Collector",
    "OnUnpaid",
    "Plan",
    "RateLimit",
    "Tariff",
    "Unpriced",
    "Versioned",
    "version_for",
]

AtCap = Literal["block", "throttle", "warn"]
Collect = Literal["meters", "invoices", "off"]
Collector = Literal["stripe", "paystack"]
Unpriced = Literal["refuse", "flag"]
OnUnpaid = Literal["none", "throttle", "suspend"]

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE_LIMIT = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(_SECONDS)})")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> RateLimit:
        """`60/minute`, or per second, hour or day."""
        match = _RATE_LIMIT.fullmatch(text)
        if match is None:
            raise InvalidInput("rate_limit", 'requests per second, minute, hour or day, such as "60/minute"')
        return cls(int(match[1]), _SECONDS[match[2]])

    def __str__(self) -> str:
        names = {seconds: name for name, seconds in _SECONDS.items()}
        return f"{self.requests}/{names.get(self.seconds, f'{self.seconds} seconds')}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan in force: the tariff of one version, and the limits that hold now. Money is in minor units.

    `throttle_limit` is what the rate falls to at the cap, where `at_cap` says throttle.

    `collect` of None leaves the choice to the settings. Where we price the usage ourselves (`invoices`), `collector` says who
    collects (None: whoever is set up), `days_until_due` within which time an invoice that is sent has to be paid (None: it
    is charged at once), and `split` who gets a part of it. `hold_tokens` is the output to hold for where a request
    states no limit of its own.
    """

    id: str
    name: str
    tariff: Tariff
    spend_cap: int | None = None
    at_cap: AtCap = "block"
    quota_tokens: int | None = None
    rate_limit: RateLimit | None = None
    throttle_limit: RateLimit | None = None
    collect: Collect | None = None
    collector: Collector | None = None
    days_until_due: int | None = None
    split: Split | None = None
    unpriced: Unpriced = "flag"
    hold_tokens: int | None = None
    upgrade_url: str | None = None
    on_unpaid: OnUnpaid = "none"
    """What becomes of a customer whose payment failed longer ago than the grace."""

    @property
    def currency(self) -> str:
        return self.tariff.currency

    @property
    def interval(self) -> str:
        return self.tariff.interval

    @property
    def base_fee(self) -> int:
        return self.tariff.base_fee

    @property
    def included_tokens(self) -> int:
        return self.tariff.included_tokens

    @property
    def prices(self) -> tuple[Price, ...]:
        return self.tariff.prices

    @property
    def throttled(self) -> RateLimit:
        """The rate limit once the cap is reached: a tenth of the usual one where the plan names none, 6 a minute without."""
        if self.throttle_limit is not None:
            return self.throttle_limit
        if self.rate_limit is not None:
            return RateLimit(max(1, self.rate_limit.requests // 10), self.rate_limit.seconds)
        return RateLimit(6, 60)

    @property
    def quota(self) -> int | None:
        """What the notices at 50, 80 and 100 percent are measured against; None where there are none."""
        return self.quota_tokens or self.tariff.included_tokens or None


class Versioned(Protocol):
    """A version of a plan: when it was applied, and whether it counts for the period that was open then."""

    @property
    def applied_at(self) -> datetime: ...

    @property
    def now(self) -> bool: ...

    @property
    def until(self) -> datetime | None:
        """Set for a trial: the version counts for periods that end at or before this instant, and for no other."""


VersionT = TypeVar("VersionT", bound=Versioned)


def version_for(period: Period, versions: Sequence[VersionT], open_until: datetime | None = None) -> VersionT:
    """The version that prices a period, or a part of one that ends at `open_until`; `versions` oldest first.

    The first reaches back without limit. A later one counts from periods that start at or after it was applied, or with
    `now` from periods that end after it. Among those that count the latest wins. A trial comes before all of them.
    """
    trials = [version for version in versions if version.until is not None and period.end <= version.until]
    if trials:
        return trials[-1]
    versions = [version for version in versions if version.until is None]
    if not versions:
        raise InvalidInput("versions", "at least one version of the plan")
    for version in reversed(versions[1:]):
        if (open_until or period.end) > version.applied_at if version.now else period.start >= version.applied_at:
            return version
    return versions[0]
