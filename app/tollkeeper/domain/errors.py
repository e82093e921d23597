"""Everything this project refuses or fails with, as facts.

An error carries a stable `code` (its class name in snake case) and whether it is `transient`, that is, whether the same
call may succeed later. It never carries an HTTP status or an exit code: each edge has one table that maps codes.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import ClassVar


class TollkeeperError(Exception):
    """Something is wrong that a person can be told about in one line."""

    code: ClassVar[str] = "tollkeeper_error"
    transient: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


class InvalidInput(TollkeeperError):
    """A value from outside is not what was expected: which field, and what was expected."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}")
        self.field = field
        self.expected = expected


class SettingMissing(TollkeeperError):
    """A setting is needed for this deed and is not set."""

    def __init__(self, name: str, purpose: str) -> None:
        super().__init__(f"{name} is not set; it is needed {purpose}")
        self.name = name


class ExtraMissing(TollkeeperError):
    """A package that only this deed needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install 'tollkeeper[{extra}]'")
        self.package = package


class NotFound(TollkeeperError):
    """There is no such thing in the database."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} {name!r}")
        self.kind = kind
        self.name = name


class UsageArchived(TollkeeperError):
    """Usage of a month that is archived: it can no longer be told from what was counted then."""

    def __init__(self, at: datetime) -> None:
        super().__init__(f"the usage of {at:%Y-%m} is archived, and nothing is added to it")
        self.at = at


class StoreUnavailable(TollkeeperError):
    """PostgreSQL or Redis did not answer within its budget."""

    transient: ClassVar[bool] = True
