"""Everything that can be set, read once into one frozen object.

Constructor arguments win over the environment. Where the ecosystem already has a name (`DATABASE_URL`, `REDIS_URL`,
`STRIPE_API_KEY`, …) it is accepted; our own prefixed name wins over it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tollkeeper.clock import Clock, ShiftedClock, SystemClock
from tollkeeper.domain.errors import InvalidInput, SettingMissing
from tollkeeper.domain.notice import KINDS
from tollkeeper.domain.sanity import SanityBound

_POSTGRES_SCHEMES = ("postgres://", "postgresql://", "postgresql+psycopg://")


def _postgres_url(value: str) -> str:
    """The URL in the one form that libpq reads, whichever of the usual schemes it was written with."""
    for scheme in _POSTGRES_SCHEMES:
        if value.startswith(scheme):
            return "postgresql://" + value[len(scheme) :]
    raise ValueError("a postgres://, postgresql:// or postgresql+psycopg:// URL")


def _redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("a redis://, rediss:// or unix:// URL")
    return value


def _web_url(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("an address that begins with https:// or http://")
    return value.rstrip("/")


def _kinds(value: str) -> str:
    """Kinds of notices by name, or all, or none."""
    if value not in ("all", "none") and not {kind.strip() for kind in value.split(",")} <= set(KINDS):
        raise ValueError(f"all, none, or some of {', '.join(KINDS)}")
    return value


def _either(ours: str, common: str) -> AliasChoices:
    return AliasChoices(ours, common, ours.lower().removeprefix("tollkeeper_"))


def _only(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower().removeprefix("tollkeeper_"))


class Settings(BaseSettings):
    """What this process was told. Secrets are `SecretStr`, so printing a `Settings` shows none of them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", case_sensitive=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    database_url: Annotated[str, AfterValidator(_postgres_url)] | None = Field(
        None, validation_alias=_either("TOLLKEEPER_DATABASE_URL", "DATABASE_URL"), repr=False
    )
    """PostgreSQL, as `postgres://`, `postgresql://` or `postgresql+psycopg://`."""
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        None, validation_alias=_either("TOLLKEEPER_REDIS_URL", "REDIS_URL"), repr=False
    )
    """Redis: live counters, holds, and Celery's broker."""
    db_schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = Field(
        None, validation_alias=_only("TOLLKEEPER_DB_SCHEMA")
    )
    """The schema that all tables are in; unset: the connection's own."""
    stripe_api_key: SecretStr | None = Field(None, validation_alias=_only("STRIPE_API_KEY"))
    """Stripe's secret key; a restricted one is enough."""
    stripe_webhook_secret: SecretStr | None = Field(None, validation_alias=_only("STRIPE_WEBHOOK_SECRET"))
    """What Stripe signs its webhooks with, or several after commas; without it `/billing/webhooks/stripe` answers 404."""
    stripe_api_base: str | None = Field(None, validation_alias=_only("STRIPE_API_BASE"))
    """Where Stripe's API is, for a stand-in."""
    public_url: Annotated[str, AfterValidator(_web_url)] | None = Field(
        None, validation_alias=_only("TOLLKEEPER_PUBLIC_URL")
    )
    """Where the billing routes are reached from outside, such as https://api.example.com/billing."""
    unpaid_grace_days: int = Field(7, ge=0, le=90, validation_alias=_only("TOLLKEEPER_UNPAID_GRACE_DAYS"))
    """How long after a failed payment the plan's `on_unpaid` is waited for."""
    paystack_secret_key: SecretStr | None = Field(None, validation_alias=_only("PAYSTACK_SECRET_KEY"))
    """Paystack's secret key, which also signs its webhooks."""
    paystack_api_base: str | None = Field(None, validation_alias=_only("PAYSTACK_API_BASE"))
    """Where Paystack's API is, for a stand-in."""
    smtp_url: SecretStr | None = Field(None, validation_alias=_only("TOLLKEEPER_SMTP_URL"))
    """The mail server, as `smtp://`, `smtps://` or `smtp+starttls://` with user and password; unset: no mail goes out."""
    mail_from: str | None = Field(None, validation_alias=_only("TOLLKEEPER_MAIL_FROM"))
    """The sender of every mail."""
    mail_templates_dir: Path | None = Field(None, validation_alias=_only("TOLLKEEPER_MAIL_TEMPLATES_DIR"))
    """A folder whose templates are taken in place of ours of the same name."""
    slack_webhook_url: SecretStr | None = Field(None, validation_alias=_only("TOLLKEEPER_SLACK_WEBHOOK_URL"))
    """The operator's channel at Slack."""
    slack_api_base: str | None = Field(None, validation_alias=_only("TOLLKEEPER_SLACK_API_BASE"))
    """Where Slack is, for a stand-in."""
    customer_notices: Annotated[str, AfterValidator(_kinds)] = Field(
        "all", validation_alias=_only("TOLLKEEPER_CUSTOMER_NOTICES")
    )
    """Which kinds of notices customers get by mail and in their Slack rooms, with commas between; `all`, or `none`."""
    operator_notices: Annotated[str, AfterValidator(_kinds)] = Field(
        "all", validation_alias=_only("TOLLKEEPER_OPERATOR_NOTICES")
    )
    """Which kinds of notices come to the operator's channel at Slack, with commas between; `all`, or `none`."""
    hooks_allow_loopback: bool = Field(False, validation_alias=_only("TOLLKEEPER_HOOKS_ALLOW_LOOPBACK"))
    """Whether outgoing webhooks may go to this machine itself, also without encryption; for rehearsals only."""
    collect: Literal["meters", "invoices", "off"] = Field("meters", validation_alias=_only("TOLLKEEPER_COLLECT"))
    """How a plan that does not say collects: report quantities and let Stripe price them, send priced invoices, or neither."""
    stripe_cadence: Literal["period", "day", "hour"] = Field(
        "period", validation_alias=_only("TOLLKEEPER_STRIPE_CADENCE")
    )
    """How often quantities are reported to Stripe: once a period, a day or an hour."""
    on_store_down: Literal["open", "closed"] = Field("open", validation_alias=_only("TOLLKEEPER_ON_STORE_DOWN"))
    """While the database is away: serve customers that were seen before and journal their usage to disk, or answer 503."""
    default_plan: str | None = Field(None, validation_alias=_only("TOLLKEEPER_DEFAULT_PLAN"))
    """The plan on which a customer first named by `identify` is created; unset: 401."""
    journal_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "tollkeeper-journal",
        validation_alias=_only("TOLLKEEPER_JOURNAL_DIR"),
    )
    """Where usage waits on disk while the database is away; name a folder that outlives a reboot."""
    clock_file: Path | None = Field(None, validation_alias=_only("TOLLKEEPER_CLOCK_FILE"))
    """Seconds to add to the machine's clock, for rehearsals; see `tollkeeper.clock.ShiftedClock`."""
    hold_tokens: int = Field(4096, ge=0, le=2**31, validation_alias=_only("TOLLKEEPER_HOLD_TOKENS"))
    """Output tokens set aside for a request that states no limit, on a plan that states none either."""
    hold_seconds: int = Field(900, ge=10, le=86_400, validation_alias=_only("TOLLKEEPER_HOLD_SECONDS"))
    """A hold whose process has not been heard of for this long is given back."""
    close_grace_seconds: int = Field(300, ge=0, le=86_400, validation_alias=_only("TOLLKEEPER_CLOSE_GRACE_SECONDS"))
    """How long the automatic close waits after a period's end, for clocks that disagree."""
    sanity_multiple: int = Field(20, ge=0, le=1_000_000, validation_alias=_only("TOLLKEEPER_SANITY_MULTIPLE"))
    """A bill beyond so many times a customer's largest of the last ones is parked for a person to release; 0: never."""
    sanity_floor: int = Field(100_000, ge=0, le=2**62, validation_alias=_only("TOLLKEEPER_SANITY_FLOOR"))
    """A bill of at most so many minor units is never parked for its amount."""
    retain_months: Annotated[int, Field(ge=2, le=1200)] | None = Field(
        None, validation_alias=_only("TOLLKEEPER_RETAIN_MONTHS")
    )
    """Full months of `usage_events` kept in the database besides the present one; older ones are archived. Unset: all."""
    archive_dir: Path | None = Field(None, validation_alias=_only("TOLLKEEPER_ARCHIVE_DIR"))
    """Where archived months go, one compressed CSV file each; needed with `TOLLKEEPER_RETAIN_MONTHS`."""
    sweep_seconds: int = Field(30, ge=1, le=3600, validation_alias=_only("TOLLKEEPER_SWEEP_SECONDS"))
    """How often the sweepers look for what is due."""
    store_budget_ms: int = Field(1500, ge=50, le=60_000, validation_alias=_only("TOLLKEEPER_STORE_BUDGET_MS"))
    """The longest a request waits for PostgreSQL, once before and once after the route."""
    redis_budget_ms: int = Field(250, ge=10, le=60_000, validation_alias=_only("TOLLKEEPER_REDIS_BUDGET_MS"))
    """The longest a request waits for Redis."""
    metrics_token: SecretStr | None = Field(None, validation_alias=_only("TOLLKEEPER_METRICS_TOKEN"))
    """What Prometheus has to show as its bearer token to read `/billing/metrics`; open to everybody where none is set."""

    admin_token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, validation_alias=_only("TOLLKEEPER_ADMIN_TOKEN")
    )
    """What an operator has to show at `/billing/admin`, 16 characters or more; unset, and no callable given: 404."""

    def need_database_url(self) -> str:
        """The database's URL, or an error that says how to set it."""
        if self.database_url is None:
            raise SettingMissing("TOLLKEEPER_DATABASE_URL (or DATABASE_URL)", "to reach PostgreSQL")
        return self.database_url

    def need_redis_url(self) -> str:
        """Redis's URL, or an error that says how to set it."""
        if self.redis_url is None:
            raise SettingMissing("TOLLKEEPER_REDIS_URL (or REDIS_URL)", "for live counters and as Celery's broker")
        return self.redis_url

    @property
    def sanity(self) -> SanityBound:
        """Beyond what a bill is held back until somebody has looked at it."""
        return SanityBound(self.sanity_multiple, self.sanity_floor)

    def kinds_for(self, whom: Literal["customer", "operator"]) -> tuple[str, ...]:
        """The kinds of notices that customers, or the operator, are told of."""
        value = self.customer_notices if whom == "customer" else self.operator_notices
        if value in ("all", "none"):
            return KINDS if value == "all" else ()
        return tuple(kind.strip() for kind in value.split(","))

    def clock(self) -> Clock:
        """The clock that this process goes by."""
        return SystemClock() if self.clock_file is None else ShiftedClock(self.clock_file)


def read_settings(**overrides: object) -> Settings:
    """The settings of the environment with `overrides` on top; `InvalidInput` names the first wrong one."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type] # pydantic checks each value against its field
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise InvalidInput(field, _expected(first["msg"])) from None


def _expected(message: str) -> str:
    """What pydantic says is wrong, so that it reads on after "expected"."""
    plain = re.sub(r"^(Value error, |\w+ should be )", "", message)
    return re.sub(r"^\w+ should ", "to ", plain)
