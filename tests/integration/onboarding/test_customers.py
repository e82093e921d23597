from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.services.moving import PlanMove, move_customer
from tollkeeper.services.onboarding import (
    CustomerExists,
    add_customer,
    all_customers,
    change_customer,
)
from tollkeeper.services.planning import PlanChange
from tollkeeper.storage.customers import Customer, StripeCustomerTaken, find_customer
from tollkeeper.storage.database import Database, change

NOW = datetime(2026, 11, 15, 12, 30, 5, 250, tzinfo=UTC)

Apply = Callable[..., list[PlanChange]]


@pytest.fixture(autouse=True)
def _plans(apply: Apply) -> None:
    apply()


def add(database: Database, user_id: str = "ada", **how: object) -> Customer:
    given = {"email": f"{user_id}@example.com", "plan_id": "pro", "now": NOW, **how}
    return add_customer(database, user_id, **given).customer  # type: ignore[arg-type] # each test gives what fits


def stored(database: Database, user_id: str = "ada") -> Customer:
    with database.transaction() as connection:
        found = find_customer(connection, user_id)
    assert found is not None
    return found


def test_a_customer_is_stored_as_given(database: Database) -> None:
    add(database, "Ωmega/7", email="o@example.com", stripe_customer_id="cus_1")

    assert stored(database, "Ωmega/7") == Customer(
        user_id="Ωmega/7",
        email="o@example.com",
        plan_id="pro",
        stripe_customer_id="cus_1",
        status="active",
        period_anchor=NOW.replace(microsecond=0),
        created_at=NOW,
    )


def test_the_very_same_call_again_is_fine_and_says_so(database: Database) -> None:
    first = add_customer(database, "ada", email="ada@example.com", plan_id="pro", now=NOW, stripe_customer_id="cus_1")
    again = add_customer(
        database, "ada", email="ada@example.com", plan_id="pro", now=NOW + timedelta(days=3), stripe_customer_id="cus_1"
    )

    assert (first.existed, again.existed) == (False, True)
    assert stored(database).created_at == NOW


def test_another_call_for_the_same_name_says_what_the_customer_is_instead(database: Database) -> None:
    add(database, email="old@example.com", stripe_customer_id="cus_1")

    with pytest.raises(CustomerExists) as caught:
        add(database, email="new@example.com", plan_id="free", stripe_customer_id="cus_2")

    assert str(caught.value) == (
        "customer 'ada' exists already, with email old@example.com, plan pro, Stripe customer cus_1"
    )
    assert stored(database).email == "old@example.com"


def test_a_stripe_customer_belongs_to_one_customer(database: Database) -> None:
    add(database, stripe_customer_id="cus_1")

    with pytest.raises(StripeCustomerTaken, match="'cus_1' belongs to another customer already"):
        add(database, "bob", stripe_customer_id="cus_1")


@pytest.mark.parametrize(
    ("user_id", "how", "complaint"),
    [
        ("", {}, "user_id: expected 1 to 255 bytes"),
        ("a" * 256, {}, "user_id: expected 1 to 255 bytes"),
        ("ada\n", {}, "user_id: expected 1 to 255 bytes"),
        ("ada\udc80", {}, "user_id: expected 1 to 255 bytes"),
        ("ada", {"email": "ada"}, "email: expected one mail address"),
        ("ada", {"email": "a@example.com,b@example.com"}, "email: expected one mail address"),
        ("ada", {"email": "a@example.com\r\nBcc: b@example.com"}, "email: expected one mail address"),
        ("ada", {"plan_id": ""}, "plan: expected 1 to 255 bytes"),
        ("ada", {"plan_id": "pro\x00"}, "plan: expected 1 to 255 bytes"),
        ("ada", {"stripe_customer_id": ""}, "stripe_customer_id: expected 1 to 255 bytes"),
        ("ada", {"period_anchor": NOW}, "period_anchor: expected none, because plan pro goes by the calendar month"),
    ],
)
def test_what_cannot_be_a_customer_is_refused(
    database: Database, user_id: str, how: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        add(database, user_id, **how)
    assert all_customers(database) == []


def test_a_plan_that_does_not_exist_is_named(database: Database) -> None:
    with pytest.raises(NotFound, match="no plan 'prp'"):
        add(database, plan_id="prp")


def test_an_anchor_is_kept_to_the_second_in_utc(database: Database) -> None:
    east = timezone(timedelta(hours=2))
    add(database, plan_id="anniversary", period_anchor=datetime(2026, 1, 31, 1, 0, 0, 999, tzinfo=east))

    assert stored(database).period_anchor == datetime(2026, 1, 30, 23, tzinfo=UTC)


def test_without_an_anchor_an_anniversary_begins_when_the_customer_is_added(database: Database) -> None:
    add(database, plan_id="anniversary")

    assert stored(database).period_anchor == datetime(2026, 11, 15, 12, 30, 5, tzinfo=UTC)


def test_an_anchor_that_differs_is_told(database: Database) -> None:
    add(database, plan_id="anniversary")
    add(database, plan_id="anniversary")  # none given: nothing to differ

    with pytest.raises(CustomerExists, match="with period anchor 2026-11-15T12:30:05Z"):
        add(database, plan_id="anniversary", period_anchor=datetime(2026, 1, 31, tzinfo=UTC))


def test_moving_a_customer_is_in_force_at_once_and_can_be_repeated(database: Database) -> None:
    add(database)

    assert move_customer(database, "ada", "free", NOW) == PlanMove("pro", "free")
    assert move_customer(database, "ada", "free", NOW) == PlanMove("free", "free")
    assert stored(database).plan_id == "free"


def test_before_any_usage_a_customer_may_move_anywhere(database: Database) -> None:
    add(database)
    with database.transaction() as connection:
        change(connection, "UPDATE customers SET period_anchor = NULL")  # as one that came in another way

    move_customer(database, "ada", "euro", NOW)
    move_customer(database, "ada", "anniversary", NOW)

    assert stored(database) == replace(
        stored(database), plan_id="anniversary", period_anchor=NOW.replace(microsecond=0)
    )


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ("euro", "plan: expected one whose currency is usd, as metered so far, not eur like euro"),
        ("anniversary", "plan: expected one whose interval is month, as metered so far, not anniversary"),
    ],
)
def test_once_metered_a_customer_keeps_currency_and_interval(database: Database, plan: str, complaint: str) -> None:
    add(database)
    with database.transaction() as connection:
        change(
            connection,
            "INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency) "
            "VALUES ('ada', '2026-11-01Z', '2026-12-01Z', 'pro', 1, 'usd')",
        )

    with pytest.raises(InvalidInput, match=complaint):
        move_customer(database, "ada", plan, NOW)
    assert stored(database).plan_id == "pro"


def test_what_is_given_is_changed_and_the_rest_stays(database: Database) -> None:
    add(database)

    changed = change_customer(database, "ada", NOW, email="new@example.com", stripe_customer_id="cus_9")

    assert changed == stored(database)
    assert (changed.email, changed.stripe_customer_id, changed.status) == ("new@example.com", "cus_9", "active")
    assert change_customer(database, "ada", NOW, status="suspended") == replace(changed, status="suspended")


def test_a_change_is_checked_like_a_new_customer(database: Database) -> None:
    add(database, stripe_customer_id="cus_1")
    add(database, "bob")

    with pytest.raises(StripeCustomerTaken):
        change_customer(database, "bob", NOW, stripe_customer_id="cus_1")
    with pytest.raises(InvalidInput, match="email: expected one mail address"):
        change_customer(database, "bob", NOW, email="bob")
    with pytest.raises(NotFound, match="no customer 'eve'"):
        change_customer(database, "eve", NOW, email="e@example.com")


def test_only_a_customer_that_exists_can_move_and_only_to_a_plan_that_does(database: Database) -> None:
    add(database)
    with pytest.raises(NotFound, match="no customer 'bob'"):
        move_customer(database, "bob", "free", NOW)
    with pytest.raises(NotFound, match="no plan 'gold'"):
        move_customer(database, "ada", "gold", NOW)


def test_an_anniversary_plan_gives_its_customers_the_anchor_that_they_lack(database: Database, apply: Apply) -> None:
    add(database)
    with database.transaction() as connection:
        change(connection, "UPDATE customers SET period_anchor = NULL")

    apply('[plans.pro]\ncurrency = "usd"\ninterval = "anniversary"\n')

    assert stored(database).period_anchor == NOW


def test_customers_are_listed_by_name(database: Database) -> None:
    for user_id in ("bob", "ada"):
        add(database, user_id)

    assert [customer.user_id for customer in all_customers(database)] == ["ada", "bob"]
