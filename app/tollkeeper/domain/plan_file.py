"""Reading `plans.toml`: plans, or one line with the field that is wrong and what was expected."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast, get_args

from tollkeeper.domain.currency import CURRENCIES, exponent, parse_major, paystack_exponent
from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import BIGINT_MAX, decimal_of
from tollkeeper.domain.period import INTERVALS
from tollkeeper.domain.plan import AtCap, Collect, Collector, OnUnpaid, Plan, RateLimit, Unpriced
from tollkeeper.domain.pricing import ANY_TOKEN, Price, Tariff, Tier
from tollkeeper.domain.pricing.matching import ties
from tollkeeper.domain.pricing.price import TiersMode
from tollkeeper.domain.split import Split, Vendor
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS, RESERVED_UNITS, TOKEN_TYPES, validate_unit_name

MAX_BYTES = 1_000_000
MAX_PRICES = 200
MAX_TIERS = 100

_PLAN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PRICE = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{3,255}")
_URL = re.compile(r"https?://[^\s\"<>]{1,2000}")
_METERS = f'"{COMPUTE_MINUTES}", "{REQUESTS}" or the name of a unit that the app counts'

_A_PRICE = 'a price as a string such as "0.003", not negative'
_A_BOUND = 'a whole number from 1, or "inf"'
_AN_ACCOUNT = 'the vendor\'s account, such as "acct_1Nv0FGQ9RKHgCVdK"'
_A_PERCENTAGE = 'a percentage from 0 to 100 as a string such as "12.5"'

T = TypeVar("T")
A = TypeVar("A", bound=str)
Reader: TypeAlias = Callable[[Any, str], T]


class PlanFileError(InvalidInput):
    """A plan file says something that it may not: the field, and what was expected."""


def parse_plans(text: str | bytes) -> tuple[Plan, ...]:
    """The plans of a file, in its order, or `PlanFileError` about the first thing that is wrong."""
    root = _Table(_load(text), "plan file")
    plans = root.take("plans", _table, None)
    root.finish()
    if not plans:
        raise PlanFileError("plans", "at least one table such as [plans.pro]")
    return tuple(_plan(plan_id, value) for plan_id, value in plans.items())


def parse_prices(text: str | bytes, currency: str) -> tuple[Price, ...]:
    """The prices of a file that has nothing but `[[prices]]`, or `PlanFileError` about the first thing that is wrong."""
    root = _Table(_load(text), "plan file")
    prices = root.take("prices", _tables, _none())
    root.finish()
    if not 1 <= len(prices) <= MAX_PRICES:
        raise PlanFileError("prices", f"1 to {MAX_PRICES} tables [[prices]]")
    return _without_ties([_price(price, f"prices[{i}]", currency) for i, price in enumerate(prices)], "price file")


def parse_percent(text: str, field: str) -> Decimal:
    """`"12.5"`, or `PlanFileError` for what is no percentage from 0 to 100."""
    return _percent(text, field)


class _Table:
    """A table that is taken apart key by key; a key that nobody took is one that nobody knows."""

    def __init__(self, values: dict[str, Any], path: str) -> None:
        self._left = dict(values)
        self._known: list[str] = []
        self._path = path

    def take(self, key: str, read: Reader[T], default: T) -> T:
        """The value under a key, read and checked; the default where the key is missing."""
        self._known.append(key)
        if key not in self._left:
            return default
        field = self.field(key)
        try:
            return read(self._left.pop(key), field)
        except PlanFileError:
            raise
        except InvalidInput as error:
            raise PlanFileError(field, error.expected) from error

    def need(self, key: str, read: Reader[T], expected: str) -> T:
        """The value under a key that must be there."""
        if key not in self._left:
            raise PlanFileError(self.field(key), f"{expected}; it is missing")
        return self.take(key, read, cast(T, None))

    def has(self, key: str) -> bool:
        return key in self._left

    def field(self, key: str) -> str:
        return key if self._path == "plan file" else f"{self._path}.{key}"

    def finish(self) -> None:
        """Refuses what is left."""
        for key in self._left:
            raise PlanFileError(self.field(_shown(key)), f"a known key ({', '.join(self._known)})")


def _plan(plan_id: str, value: Any) -> Plan:
    path = f"plans.{_shown(plan_id)}"
    if not _PLAN_ID.fullmatch(plan_id):
        raise PlanFileError(path, "a plan name of letters, digits, _ . and -, at most 63 long")
    table = _Table(_table(value, path), path)
    currency = table.need("currency", _currency, 'a currency such as "usd"')
    money = partial(_money, currency=currency)
    plan = Plan(
        id=plan_id,
        name=table.take("name", _text, plan_id),
        tariff=_tariff(table, path, currency, money),
        spend_cap=table.take("spend_cap", money, None),
        at_cap=table.take("at_cap", _one_of(get_args(AtCap)), "block"),
        quota_tokens=table.take("quota_tokens", _positive, None),
        rate_limit=table.take("rate_limit", _rate_limit, None),
        throttle_limit=table.take("throttle_limit", _rate_limit, None),
        collect=table.take("collect", _one_of(get_args(Collect)), None),
        collector=table.take("collector", _one_of(get_args(Collector)), None),
        days_until_due=table.take("days_until_due", _due, None),
        split=_split(table, path, money),
        unpriced=table.take("unpriced", _one_of(get_args(Unpriced)), "flag"),
        hold_tokens=table.take("hold_tokens", _positive, None),
        upgrade_url=table.take("upgrade_url", _url, None),
        on_unpaid=table.take("on_unpaid", _one_of(get_args(OnUnpaid)), "none"),
    )
    table.finish()
    if plan.collector == "paystack":
        return _by_paystack(plan, path)
    if plan.split is not None and plan.collect != "invoices":
        raise PlanFileError(f"{path}.vendors", 'none, unless collect = "invoices": only what we price is split here')
    return plan


def _by_paystack(plan: Plan, path: str) -> Plan:
    """Paystack counts no usage, takes its own currencies, and splits with nobody here; so `collect` needs no saying."""
    if plan.collect == "meters":
        raise PlanFileError(f"{path}.collect", '"invoices" or "off", because Paystack counts no usage')
    if plan.split is not None:
        raise PlanFileError(f"{path}.vendors", "none, because invoices at Paystack are not split")
    try:
        paystack_exponent(plan.currency)
    except InvalidInput as error:
        raise PlanFileError(f"{path}.currency", error.expected) from error
    return plan if plan.collect is not None else replace(plan, collect="invoices")


def _split(table: _Table, path: str, money: Reader[int]) -> Split | None:
    fee = table.take("platform_fee", money, None)
    rows = table.take("vendors", _tables, _none())
    if not rows and fee is not None:
        raise PlanFileError(
            f"{path}.platform_fee", "vendors to split with, [[vendors]]; without them all of it is yours"
        )
    if not rows:
        return None
    if len(rows) > 1:
        raise PlanFileError(f"{path}.vendors", "one vendor, because an invoice at Stripe has one destination")
    vendors = tuple(_vendor(row, f"{path}.vendors[{index}]") for index, row in enumerate(rows))
    return Split(vendors, fee or 0)


def _vendor(value: dict[str, Any], path: str) -> Vendor:
    table = _Table(value, path)
    vendor = Vendor(
        account=table.need("account", _account, _AN_ACCOUNT),
        percent=table.need("percent", _percent, _A_PERCENTAGE),
    )
    table.finish()
    return vendor


def _tariff(table: _Table, path: str, currency: str, money: Reader[int]) -> Tariff:
    prices = table.take("prices", _tables, _none())
    if len(prices) > MAX_PRICES:
        raise PlanFileError(f"{path}.prices", f"at most {MAX_PRICES} prices")
    minimum = table.take("minimum", money, 0)
    maximum = table.take("maximum", money, None)
    if maximum is not None and maximum < minimum:
        raise PlanFileError(f"{path}.maximum", "at least the minimum")
    return Tariff(
        currency=currency,
        interval=table.take("interval", _one_of(INTERVALS), "month"),
        base_fee=table.take("base_fee", money, 0),
        included_tokens=table.take("included_tokens", _whole, 0),
        minimum=minimum,
        maximum=maximum,
        discount_percent=table.take("discount_percent", _percent, Decimal(0)),
        trial_days=table.take("trial_days", _days, 0),
        prices=_without_ties([_price(p, f"{path}.prices[{i}]", currency) for i, p in enumerate(prices)], path),
    )


def _price(value: dict[str, Any], path: str, currency: str) -> Price:
    table = _Table(value, path)
    model = table.take("model", _model, "*")
    meter = _meter(table)
    tiers = _tiers(table, path, currency)
    round_up = table.take("round_up", _yes_or_no, False)
    if round_up and len(tiers) > 1:
        raise PlanFileError(f"{path}.round_up", "false, because there is more than one tier")
    price = Price(
        model=model,
        meter=meter,
        tiers=tiers,
        mode=table.take("tiers_mode", _one_of(get_args(TiersMode)), "graduated"),
        per=table.take("per", _per, 1),
        round_up=round_up,
        stripe_meter=table.take("stripe_meter", _event_name, None),
    )
    table.finish()
    return price


def _meter(table: _Table) -> str:
    if table.has("meter") and table.has("token_type"):
        raise PlanFileError(table.field("meter"), "either token_type or meter, not both")
    token_type = table.take("token_type", _one_of((*TOKEN_TYPES, ANY_TOKEN)), ANY_TOKEN)
    return table.take("meter", _meter_name, token_type)


def _tiers(table: _Table, path: str, currency: str) -> tuple[Tier, ...]:
    if table.has("price") == table.has("tiers"):
        raise PlanFileError(f"{path}.tiers", "either price, or tiers with a price each")
    rate = partial(_rate, currency=currency)
    if table.has("price"):
        return (Tier(None, table.need("price", rate, _A_PRICE)),)
    rows = table.take("tiers", _tables, _none())
    if not 1 <= len(rows) <= MAX_TIERS:
        raise PlanFileError(f"{path}.tiers", f"1 to {MAX_TIERS} tiers")
    tiers = [_tier(row, f"{path}.tiers[{index}]", rate) for index, row in enumerate(rows)]
    _check_bounds(tiers, path)
    return tuple(tiers)


def _tier(value: dict[str, Any], path: str, rate: Reader[Decimal]) -> Tier:
    table = _Table(value, path)
    tier = Tier(
        up_to=table.need("up_to", _up_to, _A_BOUND),
        price=table.need("price", rate, _A_PRICE),
        flat_fee=table.take("flat_fee", rate, Decimal(0)),
    )
    table.finish()
    return tier


def _check_bounds(tiers: list[Tier], path: str) -> None:
    last = len(tiers) - 1
    below = 0
    for index, tier in enumerate(tiers):
        field = f"{path}.tiers[{index}].up_to"
        if tier.up_to is None and index != last:
            raise PlanFileError(field, 'a number, because "inf" is for the last tier')
        if tier.up_to is not None and index == last:
            raise PlanFileError(field, '"inf", because this is the last tier')
        if tier.up_to is not None and tier.up_to <= below:
            raise PlanFileError(field, f"more than {below}, because bounds ascend")
        below = tier.up_to or below


def _without_ties(prices: list[Price], path: str) -> tuple[Price, ...]:
    for earlier, later in ties(prices):
        expected = f"a model and token type that prices[{earlier}] does not match equally well"
        raise PlanFileError(f"{path}.prices[{later}]", expected)
    return tuple(prices)


def _load(text: str | bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise PlanFileError("plan file", f"at most {MAX_BYTES:,} bytes")
    try:
        return tomllib.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise PlanFileError("plan file", f"UTF-8 text, but byte {error.start} is not") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanFileError("plan file", f"TOML, but: {_shown(str(error))}") from error
    except (RecursionError, ValueError) as error:
        raise PlanFileError("plan file", "TOML without values that are absurdly long or deep") from error


def _table(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlanFileError(field, "a table")
    return value


def _tables(value: Any, field: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise PlanFileError(field, "a list of tables")
    return [_table(item, f"{field}[{index}]") for index, item in enumerate(value)]


def _none() -> list[dict[str, Any]]:
    return []


def _text(value: Any, field: str) -> str:
    return plain_text(value, field)


def _string(value: Any, field: str, pattern: re.Pattern[str], expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise PlanFileError(field, expected)
    return value


def _one_of(choices: tuple[A, ...]) -> Reader[A]:
    def read(value: Any, field: str) -> A:
        if not isinstance(value, str) or value not in choices:
            raise PlanFileError(field, f"one of {', '.join(str(choice) for choice in choices)}")
        return value

    return read


def _yes_or_no(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise PlanFileError(field, "true or false")
    return value


def _integer(value: Any, field: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise PlanFileError(field, f"a whole number from {least:,} to {most:,}")
    return value


_whole = partial(_integer, least=0, most=BIGINT_MAX)
_positive = partial(_integer, least=1, most=BIGINT_MAX)
_per = partial(_integer, least=1, most=10**12)
_due = partial(_integer, least=0, most=365)
_days = partial(_integer, least=0, most=3_660)


def _up_to(value: Any, field: str) -> int | None:
    if value == "inf":
        return None
    if type(value) is not int or not 1 <= value <= BIGINT_MAX:
        raise PlanFileError(field, _A_BOUND)
    return value


def _currency(value: Any, field: str) -> str:
    if not isinstance(value, str) or value.lower() not in CURRENCIES:
        raise PlanFileError(field, 'a currency that Stripe charges in, such as "usd"')
    return value.lower()


def _money(value: Any, field: str, currency: str) -> int:
    return parse_major(value, currency, field)


def _rate(value: Any, field: str, currency: str) -> Decimal:
    """A price in major units as minor units; it may be finer than the currency, since lines are rounded, not prices."""
    major = _string(value, field, _PRICE, _A_PRICE)
    whole, _, decimals = major.partition(".")
    places = len(decimals) - exponent(currency)
    digits = int(whole + decimals)
    return decimal_of(digits, places) if places > 0 else Decimal(digits * 10**-places)


def _percent(value: Any, field: str) -> Decimal:
    percent = Decimal(_string(value, field, _PERCENT, _A_PERCENTAGE))
    if percent > 100:
        raise PlanFileError(field, _A_PERCENTAGE)
    return percent


def _rate_limit(value: Any, field: str) -> RateLimit:
    if not isinstance(value, str):
        raise PlanFileError(field, 'a string such as "60/minute"')
    return RateLimit.parse(value)


def _url(value: Any, field: str) -> str:
    return _string(value, field, _URL, "an address that begins with https:// or http://")


def _account(value: Any, field: str) -> str:
    return _string(value, field, _ACCOUNT, _AN_ACCOUNT)


def _model(value: Any, field: str) -> str:
    model = plain_text(value, field)
    if "[" in model or "]" in model:
        raise PlanFileError(
            field, "a model name in which * stands for any text and ? for one character, without [ and ]"
        )
    return model


def _meter_name(value: Any, field: str) -> str:
    if value in (COMPUTE_MINUTES, REQUESTS):
        return cast(str, value)
    if isinstance(value, str) and value in RESERVED_UNITS:
        raise PlanFileError(field, f"{_METERS}; tokens are priced by token_type")
    try:
        return validate_unit_name(value, field)
    except InvalidInput as error:
        raise PlanFileError(field, _METERS) from error


def _event_name(value: Any, field: str) -> str:
    name = plain_text(value, field)
    if len(name) > 100:
        raise PlanFileError(field, "a meter's event name of at most 100 characters")
    return name


def _shown(text: str) -> str:
    """A stranger's text on one line of a message."""
    return "".join(c if c.isprintable() else "?" for c in text[:120])
