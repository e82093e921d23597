"""Reading plans.toml: what is right becomes plans, and what is wrong is said in one line with the field's name."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.plan import Plan, RateLimit
from tollkeeper.domain.plan_file import MAX_BYTES, MAX_PRICES, MAX_TIERS, PlanFileError, parse_plans
from tollkeeper.domain.pricing import Price, Tariff, Tier, rate
from tollkeeper.domain.split import Split, Vendor

PRO = """
[plans.pro]
name = "Pro"
currency = "usd"
interval = "month"
base_fee = "99.00"
spend_cap = "250.00"
at_cap = "block"
quota_tokens = 600_000
included_tokens = 500_000
rate_limit = "60/minute"
collect = "meters"
unpriced = "refuse"
hold_tokens = 4_096
upgrade_url = "https://example.com/plans?from=pro"
on_unpaid = "throttle"
minimum = "10.00"
maximum = "1000.00"
discount_percent = "12.5"
trial_days = 14

[[plans.pro.prices]]
model = "gpt-4o*"
token_type = "*"
tiers_mode = "graduated"
per = 1_000
round_up = false
stripe_meter = "gpt4_tokens"
tiers = [
  { up_to = 100_000,   price = "0" },
  { up_to = 1_000_000, price = "0.003" },
  { up_to = "inf",     price = "0.002", flat_fee = "1.50" },
]

[[plans.pro.prices]]
meter = "images"
price = "0.04"
"""


def test_everything_that_a_plan_can_say_is_read() -> None:
    tiers = (
        Tier(100_000, Decimal(0)),
        Tier(1_000_000, Decimal("0.3")),
        Tier(None, Decimal("0.2"), flat_fee=Decimal(150)),
    )
    tariff = Tariff(
        currency="usd",
        interval="month",
        base_fee=9_900,
        included_tokens=500_000,
        minimum=1_000,
        maximum=100_000,
        discount_percent=Decimal("12.5"),
        trial_days=14,
        prices=(
            Price("gpt-4o*", "*", tiers, per=1_000, stripe_meter="gpt4_tokens"),
            Price("*", "images", (Tier(None, Decimal(4)),)),
        ),
    )
    assert parse_plans(PRO) == (
        Plan(
            id="pro",
            name="Pro",
            tariff=tariff,
            spend_cap=25_000,
            at_cap="block",
            quota_tokens=600_000,
            rate_limit=RateLimit(60, 60),
            collect="meters",
            unpriced="refuse",
            hold_tokens=4_096,
            upgrade_url="https://example.com/plans?from=pro",
            on_unpaid="throttle",
        ),
    )


def test_who_collects_and_who_gets_a_part_is_read() -> None:
    text = f"""
        [plans.p]
        currency = "usd"
        collect = "invoices"
        collector = "stripe"
        days_until_due = 14
        platform_fee = "0.30"
        {_vendors("acct_1")}
    """
    (plan,) = parse_plans(text)
    split = Split((Vendor("acct_1", Decimal("33.4")),), fee=30)
    assert (plan.collect, plan.collector, plan.days_until_due, plan.split) == ("invoices", "stripe", 14, split)


def _vendors(*accounts: str) -> str:
    return "".join(f"[[plans.p.vendors]]\naccount = '{account}'\npercent = '33.4'\n" for account in accounts)


def test_a_plan_needs_no_more_than_a_currency() -> None:
    assert parse_plans('[plans.free]\ncurrency = "eur"') == (Plan("free", "free", Tariff("eur")),)


def test_plans_come_in_the_order_of_the_file() -> None:
    text = "\n".join(f'[plans.{name}]\ncurrency = "usd"' for name in ("zeta", "alpha", "mid"))
    assert [plan.id for plan in parse_plans(text)] == ["zeta", "alpha", "mid"]


def test_bytes_are_read_as_utf_8_with_or_without_a_mark() -> None:
    text = '[plans.p]\nname = "Größe 特"\ncurrency = "USD"\r\n'
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        (plan,) = parse_plans(data)
        assert (plan.name, plan.currency) == ("Größe 特", "usd")


@pytest.mark.parametrize(
    ("currency", "price", "per", "quantity", "exact"),
    [
        ("usd", "0.003", 1_000, 1, "3/10000"),  # 0.3 cents per thousand
        ("usd", "0.15", 1_000_000, 1_000_000, "15"),
        ("usd", "0.00000015", 1, 10**15, "15000000000"),
        ("jpy", "0.5", 1, 3, "3/2"),  # yen have no smaller unit
        ("kwd", "0.0005", 1, 3, "3/2"),  # fils
        ("isk", "1", 1, 3, "300"),  # krónur are sent times 100
        ("usd", "1", 3, 1, "100/3"),
        ("usd", "100000", 1, 1, "10000000"),
    ],
)
def test_prices_are_written_in_major_units_per_so_many(
    currency: str, price: str, per: int, quantity: int, exact: str
) -> None:
    text = f'[plans.p]\ncurrency = "{currency}"\n[[plans.p.prices]]\nprice = "{price}"\nper = {per}'
    (plan,) = parse_plans(text)
    assert rate(plan.tariff, {("m", "input"): quantity}).exact == Fraction(exact)


PLAN = '[plans.p]\ncurrency = "usd"\n'
PRICE = PLAN + "[[plans.p.prices]]\n"
TIERS = PRICE + "tiers = [{tiers}]"


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        # the file as a whole
        ("", "plans", "at least one table such as [plans.pro]"),
        ("[plans]", "plans", "at least one table"),
        ("plans = 1", "plans", "a table"),
        ("[plan.p]", "plan", "a known key (plans)"),
        (PLAN + "[other]", "other", "a known key"),
        ("[plans.p", "plan file", "TOML, but:"),
        ('[plans.p]\ncurrency = "usd"\ncurrency = "usd"', "plan file", "TOML, but:"),
        (b"[plans.p]\nname = '\xff'", "plan file", "UTF-8 text, but byte 18 is not"),
        ("\x00", "plan file", "TOML, but:"),
        ("a = " + "[" * 100_000, "plan file", "TOML without values that are absurdly long or deep"),
        ("a = " + "9" * 5_000, "plan file", "TOML without values that are absurdly long or deep"),
        ("#" * (MAX_BYTES + 1), "plan file", "at most 1,000,000 bytes"),
        # a plan
        ("[plans]\np = 5", "plans.p", "a table"),
        ('[plans."a b"]', "plans.a b", "a plan name of letters"),
        ('[plans."a\\nb"]', "plans.a?b", "a plan name of letters"),
        ("[plans.p]", "plans.p.currency", "it is missing"),
        ('[plans.p]\ncurrency = "xyz"', "plans.p.currency", "a currency that Stripe charges in"),
        ("[plans.p]\ncurrency = 5", "plans.p.currency", "a currency that Stripe charges in"),
        (PLAN + "spendcap = '1'", "plans.p.spendcap", "a known key (currency, "),
        (PLAN + '"a\\nb" = 1', "plans.p.a?b", "a known key"),
        (PLAN + "name = ''", "plans.p.name", "1 to 255 bytes"),
        (PLAN + "name = 5", "plans.p.name", "1 to 255 bytes"),
        (PLAN + "interval = 'week'", "plans.p.interval", "one of month, year, anniversary"),
        (PLAN + "interval = []", "plans.p.interval", "one of month"),
        (PLAN + "base_fee = 99.00", "plans.p.base_fee", 'an amount of usd as a string such as "99.00"'),
        (PLAN + "base_fee = 99", "plans.p.base_fee", "as a string"),
        (PLAN + "base_fee = '-1'", "plans.p.base_fee", "an amount of usd"),
        (PLAN + "base_fee = '99.999'", "plans.p.base_fee", "with at most 2 decimals"),
        (PLAN + "base_fee = nan", "plans.p.base_fee", "as a string"),
        (PLAN + "base_fee = 'NaN'", "plans.p.base_fee", "an amount of usd"),
        (PLAN + "base_fee = '92233720368547758.08'", "plans.p.base_fee", "an amount of usd"),
        ('[plans.p]\ncurrency = "jpy"\nbase_fee = "1.5"', "plans.p.base_fee", 'such as "99", with at most 0 decimals'),
        (PLAN + "spend_cap = 250.00", "plans.p.spend_cap", "as a string"),
        (PLAN + "spend_cap = 'inf'", "plans.p.spend_cap", "an amount of usd"),
        (PLAN + "minimum = '2'\nmaximum = '1'", "plans.p.maximum", "at least the minimum"),
        (PLAN + "at_cap = 'stop'", "plans.p.at_cap", "one of block, throttle, warn"),
        (PLAN + "collect = 'stripe'", "plans.p.collect", "one of meters, invoices, off"),
        (PLAN + "collector = 'adyen'", "plans.p.collector", "one of stripe, paystack"),
        (PLAN + "days_until_due = 366", "plans.p.days_until_due", "a whole number from 0 to 365"),
        (PLAN + "platform_fee = '1'", "plans.p.platform_fee", "vendors to split with"),
        (PLAN + "[[plans.p.vendors]]\npercent = '5'", "plans.p.vendors[0].account", "it is missing"),
        (PLAN + "[[plans.p.vendors]]\naccount = 'a b'", "plans.p.vendors[0].account", "such as"),
        (PLAN + "[[plans.p.vendors]]\naccount = 'acct_1'", "plans.p.vendors[0].percent", "it is missing"),
        (PLAN + "[[plans.p.vendors]]\naccount = 'acct_1'\npercent = 5.0", "plans.p.vendors[0].percent", "as a string"),
        (
            PLAN + "[[plans.p.vendors]]\naccount = 'acct_1'\npercent = '5'\nfee = 1",
            "plans.p.vendors[0].fee",
            "a known key",
        ),
        (PLAN + _vendors("acct_1", "acct_2"), "plans.p.vendors", "one vendor"),
        (PLAN + _vendors("acct_1"), "plans.p.vendors", 'unless collect = "invoices"'),
        (PLAN + "unpriced = 'free'", "plans.p.unpriced", "one of refuse, flag"),
        (PLAN + "rate_limit = '60/week'", "plans.p.rate_limit", "such as"),
        (PLAN + "rate_limit = 60", "plans.p.rate_limit", "such as"),
        (PLAN + "quota_tokens = 0", "plans.p.quota_tokens", "a whole number from 1"),
        (PLAN + "quota_tokens = 1.0", "plans.p.quota_tokens", "a whole number from 1"),
        (PLAN + "quota_tokens = true", "plans.p.quota_tokens", "a whole number from 1"),
        (PLAN + "included_tokens = -1", "plans.p.included_tokens", "a whole number from 0"),
        (PLAN + "included_tokens = 9223372036854775808", "plans.p.included_tokens", "a whole number from 0"),
        (PLAN + "hold_tokens = '5'", "plans.p.hold_tokens", "a whole number from 1"),
        (PLAN + "upgrade_url = 'javascript:alert(1)'", "plans.p.upgrade_url", "an address that begins with https://"),
        (PLAN + 'upgrade_url = "https://x\\ny"', "plans.p.upgrade_url", "an address"),
        (PLAN + "discount_percent = '100.1'", "plans.p.discount_percent", "a percentage from 0 to 100"),
        (PLAN + "discount_percent = 10", "plans.p.discount_percent", "as a string"),
        (PLAN + "discount_percent = '-1'", "plans.p.discount_percent", "a percentage"),
        (PLAN + "trial_days = -1", "plans.p.trial_days", "a whole number from 0"),
        (PLAN + "base_fee = 2026-01-01", "plans.p.base_fee", "as a string"),
        # prices
        (PLAN + "prices = 5", "plans.p.prices", "a list of tables"),
        (PLAN + "prices = [5]", "plans.p.prices[0]", "a table"),
        (PRICE, "plans.p.prices[0].tiers", "either price, or tiers with a price each"),
        (PRICE + "price = '1'\ntiers = [{up_to = 'inf', price = '1'}]", "plans.p.prices[0].tiers", "either price"),
        (PRICE + "price = 0.003", "plans.p.prices[0].price", 'a price as a string such as "0.003"'),
        (PRICE + "price = 1", "plans.p.prices[0].price", "as a string"),
        (PRICE + "price = '-0.1'", "plans.p.prices[0].price", "not negative"),
        (PRICE + "price = 'nan'", "plans.p.prices[0].price", "a price"),
        (PRICE + "price = '1e3'", "plans.p.prices[0].price", "a price"),
        (PRICE + "price = '0.0000000000000001'", "plans.p.prices[0].price", "a price"),
        (PRICE + "price = '1'\nunit = 1", "plans.p.prices[0].unit", "a known key (model, "),
        (PRICE + "price = '1'\nmodel = ''", "plans.p.prices[0].model", "1 to 255 bytes"),
        (PRICE + "price = '1'\nmodel = 'gpt-[45]'", "plans.p.prices[0].model", "without [ and ]"),
        (PRICE + "price = '1'\ntoken_type = 'cached'", "plans.p.prices[0].token_type", "one of input, cached_input"),
        (PRICE + "price = '1'\ntoken_type = 'input'\nmeter = 'requests'", "plans.p.prices[0].meter", "not both"),
        (PRICE + "price = '1'\nmeter = 'input'", "plans.p.prices[0].meter", "tokens are priced by token_type"),
        (PRICE + "price = '1'\nmeter = 'tokens'", "plans.p.prices[0].meter", "tokens are priced by token_type"),
        (PRICE + "price = '1'\nmeter = '*'", "plans.p.prices[0].meter", "the name of a unit that the app counts"),
        (PRICE + "price = '1'\nmeter = 5", "plans.p.prices[0].meter", "the name of a unit"),
        (PRICE + "price = '1'\nper = 0", "plans.p.prices[0].per", "a whole number from 1"),
        (PRICE + "price = '1'\nper = '1000'", "plans.p.prices[0].per", "a whole number from 1"),
        (PRICE + "price = '1'\nround_up = 1", "plans.p.prices[0].round_up", "true or false"),
        (PRICE + "price = '1'\ntiers_mode = 'slab'", "plans.p.prices[0].tiers_mode", "one of graduated, volume"),
        (PRICE + f"price = '1'\nstripe_meter = '{'x' * 101}'", "plans.p.prices[0].stripe_meter", "at most 100"),
        # tiers
        (TIERS.format(tiers=""), "plans.p.prices[0].tiers", "1 to 100 tiers"),
        (TIERS.format(tiers="5"), "plans.p.prices[0].tiers[0]", "a table"),
        (TIERS.format(tiers="{up_to = 'inf'}"), "plans.p.prices[0].tiers[0].price", "it is missing"),
        (TIERS.format(tiers="{price = '1'}"), "plans.p.prices[0].tiers[0].up_to", "it is missing"),
        (
            TIERS.format(tiers="{up_to = 5, price = '1'}"),
            "plans.p.prices[0].tiers[0].up_to",
            '"inf", because this is the last',
        ),
        (
            TIERS.format(tiers="{up_to = 'inf', price = '1'}, {up_to = 'inf', price = '1'}"),
            "plans.p.prices[0].tiers[0].up_to",
            'a number, because "inf" is for the last tier',
        ),
        (
            TIERS.format(tiers="{up_to = 5, price = '1'}, {up_to = 5, price = '1'}, {up_to = 'inf', price = '1'}"),
            "plans.p.prices[0].tiers[1].up_to",
            "more than 5, because bounds ascend",
        ),
        (
            TIERS.format(tiers="{up_to = 0, price = '1'}, {up_to = 'inf', price = '1'}"),
            "plans.p.prices[0].tiers[0].up_to",
            "from 1",
        ),
        (TIERS.format(tiers="{up_to = 1.5, price = '1'}"), "plans.p.prices[0].tiers[0].up_to", "a whole number from 1"),
        (TIERS.format(tiers="{up_to = inf, price = '1'}"), "plans.p.prices[0].tiers[0].up_to", "a whole number from 1"),
        (
            TIERS.format(tiers="{up_to = 'Inf', price = '1'}"),
            "plans.p.prices[0].tiers[0].up_to",
            "a whole number from 1",
        ),
        (TIERS.format(tiers="{up_to = 'inf', price = 1.0}"), "plans.p.prices[0].tiers[0].price", "as a string"),
        (
            TIERS.format(tiers="{up_to = 'inf', price = '1', flat_fee = -1}"),
            "plans.p.prices[0].tiers[0].flat_fee",
            "as a string",
        ),
        (
            TIERS.format(tiers="{up_to = 'inf', price = '1', from = 1}"),
            "plans.p.prices[0].tiers[0].from",
            "a known key",
        ),
        (
            PRICE + "round_up = true\ntiers = [{up_to = 1, price = '1'}, {up_to = 'inf', price = '1'}]",
            "plans.p.prices[0].round_up",
            "false, because there is more than one tier",
        ),
        # ties
        (
            PRICE + "price = '1'\n[[plans.p.prices]]\nprice = '2'",
            "plans.p.prices[1]",
            "a model and token type that prices[0] does not match equally well",
        ),
        (
            PRICE + "model = 'gpt-*'\nprice = '1'\n[[plans.p.prices]]\nmodel = '*mini'\nprice = '2'",
            "plans.p.prices[1]",
            "prices[0] does not match equally well",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str | bytes, field: str, expected: str) -> None:
    with pytest.raises(PlanFileError) as refusal:
        parse_plans(text)
    message = str(refusal.value)
    assert message.startswith(f"{field}: expected ")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 500


def test_the_second_plan_being_wrong_leaves_nothing_of_the_first() -> None:
    with pytest.raises(PlanFileError, match=r"^plans\.q\.currency"):
        parse_plans(PLAN + "[plans.q]\nname = 'Q'")


def test_a_file_can_be_as_long_as_is_allowed_but_no_longer() -> None:
    price = "[[plans.p.prices]]\nmodel = 'm{n}'\nprice = '1'\n"
    (plan,) = parse_plans(PLAN + "".join(price.replace("{n}", str(n)) for n in range(MAX_PRICES)))
    assert len(plan.prices) == MAX_PRICES
    with pytest.raises(PlanFileError, match="at most 200 prices"):
        parse_plans(PLAN + "".join(price.replace("{n}", str(n)) for n in range(MAX_PRICES + 1)))
    tiers = "".join(f"{{up_to = {n}, price = '1'}}, " for n in range(1, MAX_TIERS + 1))
    with pytest.raises(PlanFileError, match="1 to 100 tiers"):
        parse_plans(TIERS.format(tiers=tiers + "{up_to = 'inf', price = '1'}"))


def test_the_error_is_one_of_ours_with_a_code_of_its_own() -> None:
    assert issubclass(PlanFileError, InvalidInput)
    assert (PlanFileError.code, PlanFileError.transient) == ("plan_file_error", False)


lines = st.lists(st.sampled_from(PRO.strip().splitlines()), max_size=25).map("\n".join)


@given(st.one_of(st.binary(max_size=200), lines, st.text(max_size=100), lines.map(str.encode)))
@example(b"\xef\xbb\xbf")
@example("\ud800")
def test_any_file_is_either_plans_or_one_line(content: str | bytes) -> None:
    try:
        answer = " ".join(plan.id for plan in parse_plans(content))
    except PlanFileError as refusal:
        answer = str(refusal)
    assert answer
    assert answer.isprintable()


NAIRA = """
[plans.naira]
currency = "ngn"
collector = "paystack"
"""


def test_a_plan_collected_by_paystack_is_priced_by_us_without_saying_so() -> None:
    (plan,) = parse_plans(NAIRA)

    assert (plan.collector, plan.collect) == ("paystack", "invoices")
    assert parse_plans(NAIRA + 'collect = "off"')[0].collect == "off"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (NAIRA + 'collect = "meters"', "plans.naira.collect"),
        (NAIRA.replace("ngn", "eur"), "plans.naira.currency"),
        (NAIRA + '[[plans.naira.vendors]]\naccount = "acct_1"\npercent = "5"', "plans.naira.vendors"),
        (NAIRA.replace('"paystack"', '"paypal"'), "plans.naira.collector"),
    ],
)
def test_what_paystack_cannot_do_is_refused_in_one_line(text: str, field: str) -> None:
    with pytest.raises(PlanFileError) as error:
        parse_plans(text)

    assert error.value.field == field
    assert "\n" not in str(error.value)
