"""Inspecting: is everything here that is needed, does it answer, and does the money add up.

Reads and changes nothing. One thing that is broken does not keep the others from being looked at.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection

from tollkeeper.clock import Clock
from tollkeeper.domain.check import Check, State
from tollkeeper.services.journaling import REFUSED, count_refused
from tollkeeper.services.living import signs_of_life
from tollkeeper.services.masking import shown_settings
from tollkeeper.services.provisioning import missing_at_stripe
from tollkeeper.services.reconciling import reconcile
from tollkeeper.settings import Settings
from tollkeeper.storage import migrating, schema
from tollkeeper.storage.database import Database
from tollkeeper.storage.partitions import months_ahead

if TYPE_CHECKING:
    from tollkeeper.payments.paystack import PaystackPayments
    from tollkeeper.payments.stripe import StripePayments

MAX_SKEW = timedelta(seconds=5)

_PACKAGES = ("tollkeeper", "starlette", "sqlalchemy", "psycopg", "alembic", "redis", "celery", "stripe", "click")
_MAIL_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
_PATIENCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is, how it is set, and whether it works."""

    versions: dict[str, str]
    settings: dict[str, str | None]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.state != "failed" for check in self.checks)


def inspect(
    settings: Settings,
    clock: Clock,
    *,
    database: Database | None,
    stripe: StripePayments | None,
    paystack: PaystackPayments | None = None,
    quick: bool = False,
) -> Inspection:
    """Look at everything; secrets are masked in what comes back. None stands for what is not set.

    With `quick` no sums are counted again, and neither Stripe nor Paystack is asked: for what must be answered at once.
    """
    looks: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("database", lambda: _database(database, clock, quick=quick)),
        ("redis", lambda: _redis(settings.redis_url)),
        *([] if quick else [*_at_stripe(settings, database, stripe), ("paystack", lambda: _paystack(paystack))]),
        ("mail", lambda: _mail(settings)),
        ("journal", lambda: _journal(settings.journal_dir)),
        ("retention", lambda: _retention(settings)),
    ]
    return Inspection(
        versions={"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        settings=shown_settings(settings),
        checks=tuple(check for name, look in looks for check in _surely(name, look)),
    )


def _at_stripe(
    settings: Settings, database: Database | None, stripe: StripePayments | None
) -> list[tuple[str, Callable[[], Iterable[Check]]]]:
    return [
        ("stripe", lambda: _stripe(stripe)),
        ("stripe setup", lambda: _stripe_setup(settings, database, stripe)),
    ]


def _surely(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """The checks of a look; where it breaks off, one more that says so."""
    try:
        yield from look()
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        yield Check(name, "failed", first or type(error).__name__)


def _database(database: Database | None, clock: Clock, *, quick: bool) -> Iterator[Check]:
    if database is None:
        yield Check("database", "failed", "TOLLKEEPER_DATABASE_URL (or DATABASE_URL) is not set")
        return
    with database.transaction() as connection:
        facts = schema.server_facts(connection)
        yield Check("database", "ok", "PostgreSQL {version}, database {database}, as {role}".format(**facts))
        skew = abs(facts["time"] - clock.now())
        state: State = "ok" if skew <= MAX_SKEW else "warning"
        yield Check("clock", state, f"{skew.total_seconds():.1f} s from PostgreSQL's")
        migrated = _migrations(connection)
        yield migrated
        if migrated.state == "failed":
            return
        yield _partitions(connection, clock)
        if not quick:
            yield _invoices(connection)
        yield from _waiting(connection)
        yield from signs_of_life(connection, clock.now())
    if not quick:
        yield _totals(database, clock)


def _migrations(connection: Connection) -> Check:
    stored, newest = schema.stored_revision(connection), migrating.head()
    if stored == newest:
        return Check("migrations", "ok", f"at {stored}, the newest")
    return Check("migrations", "failed", f"at {stored}, this version needs {newest}; run: tollkeeper db upgrade")


def _partitions(connection: Connection, clock: Clock) -> Check:
    """A missing month is made when its first event comes, at the price of one slow request."""
    months = months_ahead(clock.now())
    missing = schema.missing_partitions(connection, months)
    if not missing:
        return Check("partitions", "ok", f"{months[0]:%Y-%m} to {months[-1]:%Y-%m}")
    names = ", ".join(f"{month:%Y-%m}" for month in missing)
    return Check(
        "partitions", "warning", f"none yet for {names}; the worker makes them, and so does: tollkeeper db upgrade"
    )


def _invoices(connection: Connection) -> Check:
    wrong = schema.invoices_that_do_not_add_up(connection)
    if wrong:
        return Check("invoices", "failed", f"lines do not add up to the total: {', '.join(wrong)}")
    return Check("invoices", "ok", "lines add up to every total")


def _waiting(connection: Connection) -> Iterator[Check]:
    for what, number in schema.waiting_for_a_person(connection).items():
        if number:
            yield Check("attention", "warning", f"{number} {what}")


def _totals(database: Database, clock: Clock) -> Check:
    found = reconcile(database, None, now=clock.now())
    if found.ok:
        return Check("totals", "ok", "events, running totals and invoices agree")
    return Check("totals", "failed", "events, running totals and invoices differ; see: tollkeeper reconcile")


def _redis(url: str | None) -> Iterator[Check]:
    if url is None:
        yield Check("redis", "failed", "TOLLKEEPER_REDIS_URL (or REDIS_URL) is not set")
        return
    with redis.Redis.from_url(
        url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS, retry=Retry(NoBackoff(), 0)
    ) as client:
        yield Check("redis", "ok", f"Redis {client.info('server')['redis_version']}")
        yield _eviction(client)


def _eviction(client: redis.Redis) -> Check:
    """Counters survive an eviction, Celery's queue and its bindings do not."""
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.ResponseError:
        return Check("eviction", "warning", "this Redis does not tell its maxmemory-policy; it should be noeviction")
    if policy == "noeviction":
        return Check("eviction", "ok", "maxmemory-policy is noeviction")
    return Check("eviction", "warning", f"maxmemory-policy is {policy}; with noeviction no queued work is lost")


def _stripe(stripe: StripePayments | None) -> Iterator[Check]:
    from tollkeeper.payments.outcome import AccountAnswers, Refused, in_words

    if stripe is None:
        yield Check("stripe", "ok", "not set")
        return
    answer = stripe.account_ok()
    if isinstance(answer, AccountAnswers):
        kind = {True: "live money", False: "a sandbox", None: "a key of unknown kind"}[answer.livemode]
        yield Check("stripe", "ok", f"answers, {kind}")
    elif isinstance(answer, Refused) and answer.status == 403:
        yield Check("stripe", "warning", "knows the key; it may not read billing meters, which reconciling needs")
    else:
        yield Check("stripe", "failed", in_words(answer))


def _stripe_setup(settings: Settings, database: Database | None, stripe: StripePayments | None) -> Iterator[Check]:
    """What the plans need at Stripe and nobody has set up yet, by what is stored here."""
    if stripe is None or database is None:
        return
    if stripe.livemode and not stripe.restricted:
        yield Check("stripe key", "warning", "a full live key, which can move money out; a restricted one is enough")
    missing = missing_at_stripe(database, livemode=stripe.livemode, collect=settings.collect)
    if missing:
        detail = f"{len(missing)} missing: {'; '.join(missing[:5])}{'; …' if len(missing) > 5 else ''}"
        yield Check("stripe setup", "warning", f"{detail}; run: tollkeeper stripe setup")
    else:
        yield Check("stripe setup", "ok", "everything that the plans need is there")


def _paystack(paystack: PaystackPayments | None) -> Iterator[Check]:
    from tollkeeper.payments.outcome import AccountAnswers, in_words

    if paystack is None:
        yield Check("paystack", "ok", "not set")
        return
    answer = paystack.account_ok()
    if isinstance(answer, AccountAnswers):
        kind = {True: "live money", False: "test money", None: "a key of unknown kind"}[answer.livemode]
        yield Check("paystack", "ok", f"answers, {kind}")
    else:
        yield Check("paystack", "failed", in_words(answer))


def _mail(settings: Settings) -> Iterator[Check]:
    if settings.smtp_url is None or settings.mail_from is None:
        yield Check(
            "mail", "warning", "TOLLKEEPER_SMTP_URL and TOLLKEEPER_MAIL_FROM are not both set; no notices go out"
        )
        return
    url = urlsplit(settings.smtp_url.get_secret_value())
    port = url.port or _MAIL_PORTS.get(url.scheme, 25)
    socket.create_connection((url.hostname or "localhost", port), timeout=_PATIENCE_SECONDS).close()
    yield Check("mail", "ok", f"{url.hostname} answers on port {port}")


def _journal(folder: Path) -> Iterator[Check]:
    """Usage on this machine's disk that is not in the database yet, and usage that it does not take."""
    refused, waiting = count_refused(folder), len(list(folder.glob("*.jsonl")))
    if refused:
        detail = f"{refused} events refused by the database are not billed; see {folder / REFUSED}, reasons included"
        yield Check("journal", "failed", f"{detail}; once mended, rename it to a name in .jsonl")
    elif waiting:
        yield Check("journal", "warning", f"{waiting} files wait in {folder} for the database")


def _retention(settings: Settings) -> Iterator[Check]:
    if settings.retain_months is not None and settings.archive_dir is None:
        yield Check("retention", "failed", "TOLLKEEPER_ARCHIVE_DIR is not set, so nothing is archived")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
