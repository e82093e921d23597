from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Thread

import pytest

from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.plan import Plan, RateLimit
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.planning import FieldChange, PlanChange, apply_plans, list_all
from tollkeeper.storage.database import Database, all_rows, change, first_row
from tollkeeper.storage.plans import PlanVersion, load_plan, load_tariff, plan_from_row, versions_of

OCTOBER = datetime(2026, 10, 20, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 15, 12, tzinfo=UTC)

FULL = """
[plans.pro]
name = "Pro"
currency = "usd"
interval = "anniversary"
base_fee = "99.00"
included_tokens = 500_000
minimum = "10.00"
maximum = "900.00"
discount_percent = "12.5"
trial_days = 14
spend_cap = "250.00"
at_cap = "throttle"
quota_tokens = 700_000
rate_limit = "60/minute"
throttle_limit = "1/second"
collect = "invoices"
unpriced = "refuse"
hold_tokens = 2_000
upgrade_url = "https://example.com/upgrade"

[[plans.pro.prices]]
model = "gpt-4o*"
per = 1_000
tiers = [ { up_to = 100_000, price = "0" }, { up_to = "inf", price = "0.003", flat_fee = "1.50" } ]

[[plans.pro.prices]]
meter = "images"
price = "0.04"
stripe_meter = "images_made"
"""

SMALL = """
[plans.pro]
currency = "usd"
spend_cap = "{cap}"

[[plans.pro.prices]]
price = "{price}"
per = 1_000
"""

Apply = Callable[..., list[PlanChange]]


def test_a_plan_comes_back_from_the_database_as_the_file_says(database: Database, apply: Apply) -> None:
    (wanted,) = parse_plans(FULL)

    assert apply(FULL) == [PlanChange("pro", "created", 1)]

    with database.transaction() as connection:
        assert load_plan(connection, "pro") == wanted
        assert load_tariff(connection, "pro", 1) == wanted.tariff
        assert versions_of(connection, "pro") == [PlanVersion(1, OCTOBER, now=False)]


def test_the_same_file_again_changes_nothing(database: Database, apply: Apply) -> None:
    apply(FULL)
    before = _rows(database)

    assert [change.kind for change in apply(FULL, now=NOVEMBER)] == ["unchanged"]
    assert _rows(database) == before


def test_a_limit_is_changed_in_place_and_said_so(database: Database, apply: Apply) -> None:
    apply(SMALL.format(cap="250.00", price="0.01"))

    assert apply(SMALL.format(cap="300.00", price="0.01"), now=NOVEMBER) == [
        PlanChange("pro", "updated", 1, limits=(FieldChange("spend_cap", "$250.00", "$300.00"),))
    ]
    with database.transaction() as connection:
        assert load_plan(connection, "pro").spend_cap == 30_000
        assert len(versions_of(connection, "pro")) == 1


def test_a_price_makes_a_new_version_and_leaves_the_old_one_as_it_was(database: Database, apply: Apply) -> None:
    apply(SMALL.format(cap="250.00", price="0.01"))

    (change,) = apply(SMALL.format(cap="300.00", price="0.02"), now=NOVEMBER)

    assert (change.kind, change.version, change.immediate) == ("new_version", 2, False)
    assert change.charges == (FieldChange("prices[0]", "* *: $0.01, per 1,000", "* *: $0.02, per 1,000"),)
    assert change.limits == (FieldChange("spend_cap", "$250.00", "$300.00"),)
    with database.transaction() as connection:
        assert versions_of(connection, "pro") == [PlanVersion(1, OCTOBER, False), PlanVersion(2, NOVEMBER, False)]
        assert [str(load_tariff(connection, "pro", n).prices[0].tiers[0].price) for n in (1, 2)] == ["1", "2"]
        assert load_plan(connection, "pro", at_version=1).tariff == load_tariff(connection, "pro", 1)
        assert load_plan(connection, "pro", at_version=1).spend_cap == 30_000


def test_the_same_price_written_otherwise_is_no_change(apply: Apply) -> None:
    apply(SMALL.format(cap="250.00", price="0.01"))

    assert [change.kind for change in apply(SMALL.format(cap="250.00", price="0.010"))] == ["unchanged"]


def test_a_price_that_appears_and_one_that_goes_are_both_told(apply: Apply) -> None:
    apply(SMALL.format(cap="1", price="0.01") + '[[plans.pro.prices]]\nmeter = "requests"\nprice = "0.5"\n')

    (change,) = apply(SMALL.format(cap="1", price="0.01"))

    assert change.charges == (FieldChange("prices[1]", "* requests: $0.50, per 1", None),)


def test_a_dry_run_tells_the_same_and_changes_nothing(database: Database, apply: Apply) -> None:
    apply(SMALL.format(cap="250.00", price="0.01"))
    before = _rows(database)

    tried = apply(SMALL.format(cap="300.00", price="0.02") + "[plans.new]\ncurrency = 'usd'\n", dry_run=True)

    assert [(change.plan_id, change.kind) for change in tried] == [("pro", "new_version"), ("new", "created")]
    assert _rows(database) == before


def test_a_plan_that_is_not_in_the_file_stays(database: Database, apply: Apply) -> None:
    apply("[plans.old]\ncurrency = 'usd'\n")
    apply("[plans.new]\ncurrency = 'usd'\n")

    assert [listing.plan.id for listing in list_all(database)] == ["new", "old"]


def test_a_cap_changed_by_hand_is_read_at_once_and_put_back_by_the_file(database: Database, apply: Apply) -> None:
    apply(SMALL.format(cap="250.00", price="0.01"))
    with database.transaction() as connection:
        change(connection, "UPDATE plans SET spend_cap = 100, rate_limit = '5/second' WHERE id = 'pro'")
    with database.transaction() as connection:
        plan = load_plan(connection, "pro")

    assert (plan.spend_cap, plan.rate_limit) == (100, RateLimit(5, 1))
    assert apply(SMALL.format(cap="250.00", price="0.01"))[0].limits == (
        FieldChange("spend_cap", "$1.00", "$250.00"),
        FieldChange("rate_limit", "5/second", None),
    )


def test_a_row_of_the_table_and_a_tariff_make_a_plan(database: Database, apply: Apply) -> None:
    apply(FULL)
    (wanted,) = parse_plans(FULL)
    with database.transaction() as connection:
        row = first_row(connection, "SELECT * FROM plans WHERE id = 'pro'")

    assert row is not None
    assert plan_from_row(row, wanted.tariff) == wanted


@pytest.mark.parametrize(
    ("field", "becomes"), [("currency", 'currency = "eur"'), ("interval", 'currency = "usd"\ninterval = "year"')]
)
def test_what_periods_were_measured_by_cannot_change_and_nothing_else_does_either(
    database: Database, apply: Apply, ada: str, field: str, becomes: str
) -> None:
    _metered(database, ada)
    before = _rows(database)

    with pytest.raises(InvalidInput, match=rf"plans\.pro\.{field}: expected \w+, because usage was metered in it"):
        apply(f"[plans.new]\ncurrency = 'usd'\n[plans.pro]\n{becomes}\n", now=NOVEMBER)

    assert _rows(database) == before


def test_usage_on_another_plan_fixes_the_currency_of_the_plan_that_the_customer_is_on_now(
    database: Database, apply: Apply, ada: str
) -> None:
    _metered(database, ada)
    with database.transaction() as connection:
        change(connection, "UPDATE customers SET plan_id = 'free'")

    with pytest.raises(InvalidInput, match=r"plans\.free\.currency"):
        apply('[plans.free]\ncurrency = "eur"\n')


def test_before_the_first_usage_a_plan_may_start_over_in_another_currency(
    database: Database, apply: Apply, ada: str
) -> None:
    (change,) = apply('[plans.pro]\ncurrency = "eur"\ninterval = "anniversary"\n', now=NOVEMBER)

    assert (change.kind, change.version) == ("new_version", 2)
    with database.transaction() as connection:
        # The version in dollars is gone, so the one in euros is the first, which reaches back without limit.
        assert versions_of(connection, "pro") == [PlanVersion(2, NOVEMBER, now=False)]
        assert load_plan(connection, "pro").currency == "eur"


def test_a_plan_that_does_not_exist_is_not_found(database: Database, apply: Apply) -> None:
    apply(FULL)
    with database.transaction() as connection:
        with pytest.raises(NotFound, match="no plan 'prp'"):
            load_plan(connection, "prp")
        with pytest.raises(NotFound, match="no plan 'pro version 7'"):
            load_plan(connection, "pro", at_version=7)
        with pytest.raises(NotFound, match="no plan version 'pro 7'"):
            load_tariff(connection, "pro", 7)


def test_ten_that_apply_the_same_file_at_once_make_one_version(database: Database) -> None:
    plans: tuple[Plan, ...] = parse_plans(FULL)
    kinds: list[str] = []

    def apply_once() -> None:
        kinds.extend(change.kind for change in apply_plans(database, plans, OCTOBER))

    threads = [Thread(target=apply_once) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(kinds) == ["created"] + ["unchanged"] * 9


def _metered(database: Database, user_id: str) -> None:
    with database.transaction() as connection:
        change(
            connection,
            "INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency, events) "
            "VALUES (:user, '2026-11-01Z', '2026-12-01Z', 'pro', 1, 'usd', 1)",
            user=user_id,
        )


def _rows(database: Database) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    with database.transaction() as connection:
        plans = all_rows(connection, "SELECT * FROM plans ORDER BY id")
        return plans, all_rows(connection, "SELECT * FROM plan_versions ORDER BY plan_id, version")
