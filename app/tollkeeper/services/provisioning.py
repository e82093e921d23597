"""Provisioning: bringing Stripe to what the plans need, as often as one likes.

It looks first and makes only what is missing, so a run that broke off is continued by the next. Prices cannot be changed at
Stripe: a plan that charges something else gets a new price, the old one is archived, and subscriptions that use it go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from tollkeeper.domain.plan import Collect, Plan
from tollkeeper.payments.catalog import PlanUnfit, Wanted, WantedPrice, wanted_by
from tollkeeper.payments.stripe_catalog import (
    PORTAL_FEATURES,
    SNAPSHOT_EVENTS,
    THIN_EVENTS,
    Standing,
    webhook_fingerprint,
)
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import list_plans
from tollkeeper.storage.stripe_objects import (
    StripeKind,
    StripeObject,
    lock_setup,
    objects_in_use,
    save_object,
)

if TYPE_CHECKING:
    from tollkeeper.payments.stripe_catalog import StripeCatalog

Action: TypeAlias = Literal["keep", "make", "replace", "change", "skip"]
WEBHOOK_PATH = "/webhooks/stripe"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about one object, or would be."""

    action: Action
    kind: StripeKind
    key: str
    stripe_id: str | None = None
    detail: str | None = None
    secret: str | None = None
    """A signing secret, told at the making of an endpoint and never again."""


@dataclass(frozen=True, slots=True)
class Setup:
    """All steps, and the plans that Stripe's meters cannot charge."""

    steps: tuple[Step, ...]
    unfit: tuple[PlanUnfit, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether anything is to be done."""
        return any(step.action not in ("keep", "skip") for step in self.steps)


def set_up(
    database: Database,
    catalog: StripeCatalog,
    *,
    now: datetime,
    collect: Collect = "meters",
    public_url: str | None = None,
    dry_run: bool = False,
    endpoints: bool = True,
) -> Setup:
    """Find or make everything that the plans need; with `dry_run` only look.

    `collect` is for plans that do not say; `public_url` is where the billing routes are reached from outside. What was made
    is remembered even where a later step fails. Without `endpoints` the portal and the webhooks are left alone.
    """
    wanted, unfit = _wanted(database, collect)
    run = _Run(database, catalog, now, dry_run=dry_run)
    with database.transaction() as guard:
        if not dry_run:
            lock_setup(guard)  # two at once would each make what both miss
        steps = list(_catalog(run, wanted))
        if endpoints:
            steps += [run.portal(public_url), *_endpoints(run, public_url)]
    return Setup(tuple(steps), tuple(unfit))


def missing_at_stripe(database: Database, *, livemode: bool, collect: Collect = "meters") -> list[str]:
    """What the plans need and no setup has found or made yet, by what is remembered here; nothing is asked of Stripe."""
    wanted, unfit = _wanted(database, collect)
    with database.transaction() as connection:
        known = objects_in_use(connection, livemode)
    needed: list[tuple[StripeKind, str, str | None]] = [("portal", "portal", None), ("webhook", "webhook", None)]
    for one in wanted:
        needed += [("meter", meter, None) for meter in one.meters]
        needed += [("price", price.lookup_key, price.fingerprint) for price in one.prices]
    missing = [
        f"{kind} {key}"
        for kind, key, fingerprint in needed
        if (kind, key) not in known or fingerprint not in (None, known[kind, key].fingerprint)
    ]
    return [*dict.fromkeys(missing), *(str(plan) for plan in unfit)]


def _wanted(database: Database, collect: Collect) -> tuple[list[Wanted], list[PlanUnfit]]:
    with database.transaction() as connection:
        plans = [listing.plan for listing in list_plans(connection)]
    wanted, unfit = [], []
    for plan in plans:
        if (plan.collect or collect) == "meters" and _charges(plan):
            try:
                wanted.append(wanted_by(plan))
            except PlanUnfit as error:
                unfit.append(error)
    return wanted, unfit


def _charges(plan: Plan) -> bool:
    """A plan that never charges anything has nobody to subscribe to it."""
    return bool(plan.base_fee or plan.prices)


def _catalog(run: _Run, wanted: Sequence[Wanted]) -> Iterator[Step]:
    meters: dict[str, str | None] = {}
    for event_name in dict.fromkeys(meter for one in wanted for meter in one.meters):
        step = run.meter(event_name)
        meters[event_name] = step.stripe_id
        yield step
    for one in wanted:
        yield run.product(one)
        for price in one.prices:
            yield run.price(price, one, None if price.meter is None else meters[price.meter])


def _endpoints(run: _Run, public_url: str | None) -> Iterator[Step]:
    if public_url is None:
        why = "set TOLLKEEPER_PUBLIC_URL to where the billing routes are reached from outside"
        yield Step("skip", "webhook", "webhook", detail=why)
        return
    url = public_url.rstrip("/") + WEBHOOK_PATH
    yield run.webhook(url)
    yield run.thin_webhook(url)


class _Run:
    """One walk along everything that is needed."""

    def __init__(self, database: Database, catalog: StripeCatalog, now: datetime, *, dry_run: bool) -> None:
        self._database = database
        self._catalog = catalog
        self._now = now
        self._dry_run = dry_run

    def meter(self, event_name: str) -> Step:
        found = self._catalog.find_meter(event_name)
        if found is not None:
            return self._done("keep", "meter", event_name, found)
        return self._make("make", "meter", event_name, lambda: self._catalog.make_meter(event_name))

    def product(self, wanted: Wanted) -> Step:
        found = self._catalog.find_product(wanted.product_id)
        key, name, plan_id = wanted.product_id, wanted.product_name, wanted.plan_id
        if found is None:
            make = lambda: self._catalog.make_product(key, name, plan_id)  # noqa: E731 # as short as its place
            return self._make("make", "product", key, make, plan_id)
        if (found.fingerprint, found.active) == (name, True):
            return self._done("keep", "product", key, found, plan_id)
        return self._make("change", "product", key, lambda: self._catalog.rename_product(key, name), plan_id)

    def price(self, wanted: WantedPrice, of: Wanted, meter: str | None) -> Step:
        found = self._catalog.find_price(wanted.lookup_key)
        if found is not None and found.active and found.fingerprint == wanted.fingerprint:
            return self._done("keep", "price", wanted.lookup_key, found, wanted.plan_id)

        def make() -> Standing:
            made = self._catalog.make_price(wanted, of.product_id, meter)
            if found is not None:
                self._catalog.archive_price(found.id)
            return made

        return self._make("make" if found is None else "replace", "price", wanted.lookup_key, make, wanted.plan_id)

    def portal(self, public_url: str | None) -> Step:
        wanted = _portal_fingerprint(public_url)
        found = self._catalog.find_portal()
        if found is not None and found.fingerprint == wanted:
            return self._done("keep", "portal", "portal", found)
        known = None if found is None else found.id
        action: Action = "make" if found is None else "change"
        return self._make(action, "portal", "portal", lambda: self._catalog.make_portal(wanted, public_url, known))

    def webhook(self, url: str) -> Step:
        import stripe

        wanted = webhook_fingerprint(url, SNAPSHOT_EVENTS, stripe.api_version)
        return self._endpoint("webhook", wanted, self._catalog.find_webhook(), url)

    def thin_webhook(self, url: str) -> Step:
        wanted = webhook_fingerprint(url, THIN_EVENTS, None)
        return self._endpoint("thin_webhook", wanted, self._catalog.find_thin_webhook(), url)

    def _endpoint(
        self, kind: Literal["webhook", "thin_webhook"], wanted: str, found: Standing | None, url: str
    ) -> Step:
        """An endpoint that is not what it should be is made anew: its version and its secret cannot be changed."""
        if found is not None and found.active and found.fingerprint == wanted:
            return self._done("keep", kind, kind, found)

        def make() -> Standing:
            thin = kind == "thin_webhook"
            made = self._catalog.make_thin_webhook(url) if thin else self._catalog.make_webhook(url)
            if found is not None:
                (self._catalog.drop_thin_webhook if thin else self._catalog.drop_webhook)(found.id)
            return made

        return self._make("make" if found is None else "replace", kind, kind, make, detail=url)

    def _make(
        self,
        action: Action,
        kind: StripeKind,
        key: str,
        make: Callable[[], Standing],
        plan_id: str | None = None,
        detail: str | None = None,
    ) -> Step:
        if self._dry_run:
            return Step(action, kind, key, detail=detail)
        return self._done(action, kind, key, make(), plan_id, detail)

    def _done(
        self,
        action: Action,
        kind: StripeKind,
        key: str,
        standing: Standing,
        plan_id: str | None = None,
        detail: str | None = None,
    ) -> Step:
        if not self._dry_run:
            self._remember(action, StripeObject(kind, key, standing.id, standing.fingerprint, plan_id))
        return Step(action, kind, key, standing.id, detail, standing.secret)

    def _remember(self, action: Action, one: StripeObject) -> None:
        with self._database.transaction() as connection:
            save_object(connection, self._catalog.livemode, one, self._now)
            if action != "keep":
                after = {"kind": one.kind, "stripe_id": one.stripe_id}
                record(connection, "stripe.set_up", one.key, self._now, after=after)


def _portal_fingerprint(public_url: str | None) -> str:
    return hashlib.sha256(json.dumps([PORTAL_FEATURES, public_url], sort_keys=True).encode()).hexdigest()[:32]
