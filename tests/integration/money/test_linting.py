"""Plans against what they cost, and against what Stripe could make of them."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.usage import Usage
from tollkeeper.services.linting import Finding, Margin, lint_plans, list_price

NOW = NOVEMBER + timedelta(days=40)
USED = NOVEMBER + timedelta(days=20)


def plan(*prices: str, head: str = 'currency = "usd"') -> str:
    return f"[plans.pro]\n{head}\n" + "\n".join(f"[[plans.pro.prices]]\n{price}" for price in prices)


def cost(model: str, token_type: str, at: datetime) -> Decimal | None:
    """A model's million tokens cost 200 cents in and 1,000 out."""
    return {"input": Decimal(200), "output": Decimal(1_000)}.get(token_type) if model == "known" else None


def test_each_model_that_was_used_is_shown_with_its_margin(ledger: Ledger) -> None:
    ledger.plan(plan('per = 1_000_000\nprice = "12.50"'))
    ledger.customer(plan="pro")
    ledger.use(tokens_in=7, tokens_out=5, model="known", at=USED)
    ledger.use(tokens_in=3, model="own-model", at=USED)
    ledger.use(tokens_in=9, model="long-ago", at=NOW - timedelta(days=31))
    found = lint_plans(ledger.database, NOW, cost_of=cost)
    sold = Decimal(1_250)
    assert found.margins == (
        Margin("pro", "known", "input", 7, "usd", sold, Decimal(200), Decimal(84)),  # 1,050 of 1,250
        Margin("pro", "known", "output", 5, "usd", sold, Decimal(1_000), Decimal(20)),  # 250 of 1,250
        Margin("pro", "own-model", "input", 3, "usd", sold, None, None),
    )
    assert found.ok


def test_a_request_to_several_models_counts_for_each_and_own_terms_for_their_customer_alone(ledger: Ledger) -> None:
    ledger.plan(plan('per = 1_000_000\nprice = "12.50"'))
    for user in ("ada", "bob"):
        ledger.customer(user, "pro")
    Terminal(ledger, NOVEMBER)("customers", "override", "bob", "--discount", "90")
    ledger.use("ada", 7, 5, at=USED, model="own-model", parts=(Usage("own-model", 3, 5), Usage("known", 4, 0)))
    ledger.use("bob", 0, 2, at=USED, model="known")
    found = lint_plans(ledger.database, NOW, cost_of=cost)
    assert [(one.user_id, one.model_id, one.token_type, one.tokens, one.sold) for one in found.margins] == [
        (None, "known", "input", 4, Decimal(1_250)),
        (None, "own-model", "input", 3, Decimal(1_250)),
        (None, "own-model", "output", 5, Decimal(1_250)),
        ("bob", "known", "output", 2, Decimal(125)),
    ]
    detail = "known output for customer bob: sold at 125 and bought at 1000 cents for a million"
    assert found.findings == (Finding("pro", "below_cost", detail),)


@pytest.mark.parametrize(
    ("head", "price", "sold"),
    [
        ("", 'per = 1_000_000\nprice = "9.99"', 999),
        ('discount_percent = "10"', 'per = 1_000_000\nprice = "11.00"', 990),  # 1,100 less 110
        ("", 'tiers = [{up_to = 5, price = "1"}, {up_to = "inf", price = "0.00000999"}]', 999),  # the cheapest tier
        ("", 'price = "0"', 0),
    ],
)
def test_what_is_sold_below_cost_is_found(ledger: Ledger, head: str, price: str, sold: int) -> None:
    ledger.plan(plan(price, head=f'currency = "usd"\n{head}'))
    ledger.customer(plan="pro")
    ledger.use(tokens_out=5, model="known", at=USED)
    detail = f"known output: sold at {sold} and bought at 1000 cents for a million"
    assert lint_plans(ledger.database, NOW, cost_of=cost).findings == (Finding("pro", "below_cost", detail),)


def test_a_free_tier_in_front_of_paid_ones_is_a_gift_and_no_finding(ledger: Ledger) -> None:
    ledger.plan(plan('tiers = [{up_to = 100, price = "0"}, {up_to = "inf", price = "0.01"}]'))
    ledger.customer(plan="pro")
    ledger.use(tokens_out=5, model="known", at=USED)
    assert lint_plans(ledger.database, NOW, cost_of=cost).ok


def test_usage_without_a_price_is_found(ledger: Ledger) -> None:
    ledger.plan(plan('model = "known"\nprice = "1"'))
    ledger.customer(plan="pro")
    ledger.use(tokens_in=1_200, model="stranger", at=USED)
    [finding] = lint_plans(ledger.database, NOW, cost_of=cost).findings
    assert finding == Finding("pro", "no_price", "stranger input: 1,200 tokens were used and have no price")


def test_a_plan_in_another_currency_is_not_compared_with_dollars(ledger: Ledger) -> None:
    ledger.plan(plan('price = "0"', head='currency = "eur"'))
    ledger.customer(plan="pro")
    ledger.use(tokens_in=5, model="known", at=USED)
    found = lint_plans(ledger.database, NOW, cost_of=cost)
    assert (found.ok, found.margins[0].cost) == (True, None)


FOUR = tuple(
    f'model = "m"\ntoken_type = "{kind}"\nprice = "1"' for kind in ("input", "cached_input", "cache_write", "output")
)


def test_a_price_that_can_never_match_is_found(ledger: Ledger) -> None:
    ledger.plan(plan(*FOUR, 'model = "m"\ntoken_type = "*"\nprice = "1"'))
    [finding] = lint_plans(ledger.database, NOW, cost_of=cost).findings
    assert (finding.kind, finding.detail) == (
        "never_matches",
        "prices[4]: each of its token types has a price for the same model",
    )


def test_prices_that_overlap_are_found_though_no_file_could_have_said_so(ledger: Ledger) -> None:
    ledger.plan(plan('model = "ab*"\nprice = "1"', 'model = "*yz"\ntoken_type = "input"\nprice = "1"'))
    ledger.run("UPDATE plan_versions SET tariff = jsonb_set(tariff, '{prices,1,meter}', '\"*\"')")
    [finding] = lint_plans(ledger.database, NOW, cost_of=cost).findings
    assert (finding.kind, finding.detail) == ("overlap", "prices[0] and prices[1] match the same thing equally")


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        ('model = "b"\nprice = "2"', True),
        ('model = "b"\nprice = "1"', False),  # the same for every unit: Stripe needs not tell them apart
        ('model = "b"\nprice = "2"\nstripe_meter = "b_tokens"', False),
        ('model = "b"\nper = 10\nround_up = true\nprice = "10"', True),  # packages are begun one by one
        ('meter = "requests"\nprice = "2"', False),  # has a meter of its own
    ],
)
def test_prices_that_stripe_must_price_apart_may_not_share_a_meter(ledger: Ledger, second: str, shared: bool) -> None:
    ledger.plan(plan('model = "a"\nprice = "1"', second))
    found = lint_plans(ledger.database, NOW, collect="meters", cost_of=cost)
    assert [finding.kind for finding in found.findings] == (["shared_meter"] if shared else [])
    assert lint_plans(ledger.database, NOW, collect="invoices", cost_of=cost).ok


def test_the_command_takes_list_prices_and_ends_with_1_where_it_found_something(ledger: Ledger) -> None:
    ledger.plan(plan('per = 1_000_000\nprice = "0.20"'))
    ledger.customer(plan="pro")
    ledger.use(tokens_in=5, model="gpt-4o-mini", at=USED)
    terminal = Terminal(ledger, NOW)
    assert terminal.json("plans", "lint")["margins"] == [
        {
            "plan_id": "pro", "model_id": "gpt-4o-mini", "token_type": "input", "tokens": 5, "currency": "usd",
            "sold": "20", "cost": "15", "percent": "25", "user_id": None,
        }
    ]  # fmt: skip
    assert terminal("plans", "lint").stdout.endswith("Nothing was found.\n")
    ledger.use(tokens_out=5, model="gpt-4o-mini", at=USED)  # 60 cents for a million
    assert terminal.json("plans", "lint", exit_code=1)["findings"][0]["kind"] == "below_cost"
    assert "pro: below cost: gpt-4o-mini output" in terminal("plans", "lint", exit_code=1).stdout


def test_list_prices_know_cached_tokens_and_names_with_a_vendor_in_front() -> None:
    now = NOVEMBER
    assert list_price("gpt-4o-mini", "cached_input", now) == Decimal("7.5")
    assert list_price("openai/gpt-4o-mini", "input", now) == Decimal(15)
    assert list_price("nobody-knows-this-model", "input", now) is None


def test_without_the_package_one_line_says_how_to_get_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    ledger.plan(plan('price = "1"'))
    ledger.customer(plan="pro")
    ledger.use(tokens_in=5, at=USED)
    assert Terminal(ledger, NOW)("plans", "lint", exit_code=2).stderr == (
        "tollkeeper: genai-prices is not installed; it comes with: pip install 'tollkeeper[lint]'\n"
    )
