"""Customers at Stripe: each made once, whoever tries, and whatever gets lost on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from integration.stripe_setup.shop import Shop
from tollkeeper.services.linking import LEASE, Linking, NotLinkedYet, link_customers, linked_customer


def link(shop: Shop) -> Linking:
    return link_customers(shop.ledger.database, shop.selling, now=shop.clock.now(), collect="meters")


@pytest.fixture
def payer(shop: Shop) -> str:
    return shop.ledger.customer("grace", "pro", since=shop.clock.now())


def test_whoever_stripe_is_to_bill_is_made_there_and_nobody_else(shop: Shop, payer: str) -> None:
    assert link(shop) == Linking(1, more=False)
    assert shop.customer("grace")["stripe_customer_id"].startswith("cus_")
    assert shop.customer("ada")["stripe_customer_id"] is None  # the free plan collects nothing
    assert link(shop) == Linking(0, more=False)
    assert shop.made_at_stripe("grace") == 1


def test_two_workers_at_once_make_a_customer_once(shop: Shop, payer: str) -> None:
    shop.standin.inject("hang_before", method="POST", path="/v1/customers", seconds=0.2)
    with ThreadPoolExecutor(4) as pool:
        runs = [run.result() for run in [pool.submit(link, shop) for _ in range(4)]]
    assert sum(run.linked for run in runs) == 1
    assert shop.made_at_stripe("grace") == 1


def test_a_lost_answer_is_looked_up_and_not_made_again(shop: Shop, payer: str) -> None:
    shop.standin.inject("drop_after", method="POST", path="/v1/customers")
    assert link(shop).linked == 0
    shop.standin.prune_idempotency_keys()  # as after a day: the key would make another one
    shop.clock.advance(timedelta(hours=30))
    assert link(shop).linked == 1
    assert shop.made_at_stripe("grace") == 1


@pytest.mark.parametrize("kind", ["error_before", "error_after"])
def test_a_failure_that_is_stuck_to_its_key_is_got_round_without_a_second_customer(
    shop: Shop, payer: str, kind: str
) -> None:
    shop.standin.inject(kind, method="POST", path="/v1/customers")
    for _ in range(4):
        link(shop)
        shop.clock.advance(timedelta(minutes=5))
    assert shop.customer("grace")["stripe_customer_id"] is not None
    assert shop.made_at_stripe("grace") == 1


def test_a_worker_killed_between_the_call_and_the_commit_leaves_one_customer(shop: Shop, payer: str) -> None:
    link(shop)
    shop.ledger.run("UPDATE customers SET stripe_customer_id = NULL")
    shop.ledger.run("UPDATE stripe_links SET state = 'sending', next_attempt_at = :at", at=shop.clock.now() + LEASE)
    assert link(shop).linked == 0  # it may still be running
    shop.clock.advance(LEASE)
    assert link(shop).linked == 1
    assert shop.made_at_stripe("grace") == 1


def test_too_many_calls_wait_as_long_as_stripe_asks(shop: Shop, payer: str) -> None:
    shop.standin.inject("rate_limit", method="POST", path="/v1/customers", retry_after=40)
    assert link(shop).linked == 0
    shop.clock.advance(timedelta(seconds=39))
    assert link(shop).linked == 0
    shop.clock.advance(timedelta(seconds=1))
    assert link(shop).linked == 1


def test_who_is_refused_waits_for_a_person_and_is_tried_again_with_another_address(shop: Shop, payer: str) -> None:
    shop.standin.inject("error_before", method="POST", path="/v1/customers", status=400)
    assert link(shop).linked == 0
    shop.clock.advance(timedelta(days=1))
    assert link(shop).linked == 0
    assert shop.ledger.rows("SELECT state FROM stripe_links") == [{"state": "refused"}]
    shop.ledger.run("UPDATE customers SET email = 'grace@example.com' WHERE user_id = 'grace'")
    assert link(shop).linked == 1
    assert shop.made_at_stripe("grace") == 1


def test_adding_a_customer_does_not_need_stripe(shop: Shop) -> None:
    calls = len(shop.standin.calls())
    shop.ledger.customer("grace", "pro", since=shop.clock.now())
    assert len(shop.standin.calls()) == calls


def test_a_customer_who_was_linked_by_hand_keeps_that_name(shop: Shop) -> None:
    shop.ledger.customer("grace", "pro", since=shop.clock.now(), stripe="cus_by_hand")
    assert link(shop).linked == 0
    assert shop.customer("grace")["stripe_customer_id"] == "cus_by_hand"


def test_while_stripe_is_away_who_asks_is_told_to_come_again(shop: Shop) -> None:
    shop.standin.inject("drop_before", path="/v1/customers", times=2)
    now = shop.clock.now()
    with pytest.raises(NotLinkedYet):
        linked_customer(shop.ledger.database, shop.selling, "ada", now)
    shop.standin.clear_faults()
    assert linked_customer(shop.ledger.database, shop.selling, "ada", now).startswith("cus_")
