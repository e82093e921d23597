"""Invoices that we price and Stripe collects: each once, over exactly our amount, whatever goes wrong on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER
from integration.collecting.conftest import CUSTOMER, PRICED_BY_US, Collecting
from tollkeeper.services.collecting import CollectingSummary
from tollkeeper.services.reconciled import ReconciledPeriod
from tollkeeper.services.reconciling import reconcile
from tollkeeper.testing import FaultKind

INVOICES, ITEMS, FINALIZE = "/v1/invoices", "/v1/invoiceitems", "/v1/invoices/*/finalize"


def test_our_lines_become_items_on_an_invoice_at_stripe_which_is_then_final(collecting: Collecting) -> None:
    collecting.close(100, 20)

    assert collecting.collect() == CollectingSummary(tried=1, issued=1)

    [theirs] = collecting.at_stripe()
    ours = collecting.invoice()
    assert (theirs["status"], theirs["total"], theirs["customer"]) == ("open", 1_000 + 120, CUSTOMER)
    assert theirs["auto_advance"] is True
    assert theirs["metadata"]["tollkeeper_invoice_id"] == str(ours["id"])
    assert [line["amount"] for line in theirs["lines"]["data"]] == [120, 1_000]
    assert (ours["status"], ours["stripe_invoice_id"]) == ("finalized", theirs["id"])
    [row] = collecting.rows()
    assert (row["state"], row["external_id"], row["issued_at"]) == ("issued", theirs["id"], collecting.clock.now())


def test_an_item_bears_the_days_of_its_usage(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    [line, _] = collecting.at_stripe()[0]["lines"]["data"]
    last_second = int((DECEMBER - timedelta(seconds=1)).timestamp())
    assert line["period"] == {"start": int(NOVEMBER.timestamp()), "end": last_second}


def test_a_second_run_asks_for_nothing(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    calls = len(collecting.standin.calls())
    assert collecting.collect(insist=True) == CollectingSummary()
    assert len(collecting.standin.calls()) == calls


def test_what_a_period_owes_is_not_collected_before_it_is_over(collecting: Collecting) -> None:
    collecting.clock.set(NOVEMBER + timedelta(days=20))
    collecting.close(100)
    assert collecting.collect() == CollectingSummary()
    collecting.clock.set(DECEMBER)
    assert collecting.collect(as_of=NOVEMBER) == CollectingSummary()
    assert collecting.collect().issued == 1


@pytest.mark.parametrize("collect", ["meters", "off"])
def test_what_is_collected_in_another_way_is_not_collected_here(collecting: Collecting, collect: str) -> None:
    collecting.close(100, plan=PRICED_BY_US.replace('collect = "invoices"', f'collect = "{collect}"'))
    assert collecting.collect() == CollectingSummary()
    assert collecting.at_stripe() == []


def test_a_customer_unknown_to_stripe_waits_and_the_row_says_why(collecting: Collecting) -> None:
    collecting.close(100, stripe=None)
    assert collecting.collect() == CollectingSummary(pending=1)
    assert collecting.rows()[0]["last_error"] == "the collector does not know the customer yet"
    collecting.ledger.run("UPDATE customers SET stripe_customer_id = :id", id=CUSTOMER)
    assert collecting.collect().issued == 1


def test_nobody_is_asked_for_nothing(collecting: Collecting) -> None:
    collecting.close(5, plan=PRICED_BY_US.replace('"10.00"', '"0"').replace('"0.01"', '"0"'))
    assert collecting.collect() == CollectingSummary(nothing_due=1)
    assert collecting.at_stripe() == []
    assert collecting.invoice()["status"] == "paid"


def test_an_invoice_that_is_sent_is_due_in_the_plans_days(collecting: Collecting) -> None:
    collecting.close(100, plan=PRICED_BY_US.replace("base_fee", "days_until_due = 14\nbase_fee"))
    collecting.collect()
    [theirs] = collecting.at_stripe()
    assert theirs["collection_method"] == "send_invoice"
    assert theirs["due_date"] == int((collecting.clock.now() + timedelta(days=14)).timestamp())


def test_a_vendors_share_and_ours_add_up_to_the_invoice(collecting: Collecting) -> None:
    # 10.33: a third of it is 3.4433, the vendor has 6.8867 and gets the cent that is left over
    vendors = '[[plans.ours.vendors]]\naccount = "acct_vendor"\npercent = "66.666666"\n[[plans.ours.prices]]'
    collecting.close(33, plan=PRICED_BY_US.replace("[[plans.ours.prices]]", vendors))
    collecting.collect()
    [theirs] = collecting.at_stripe()
    assert theirs["total"] == 1033
    split = collecting.standin.splits()[theirs["id"]]
    assert split == {"destination": "acct_vendor", "application_fee_amount": 1033 - 689}


def test_late_usage_and_what_is_carried_forward_go_along(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    collecting.ledger.use(tokens_in=7, model="model-0", stored=DECEMBER + timedelta(days=3))
    collecting.clock.set(JANUARY + timedelta(minutes=5))
    collecting.ledger.close(as_of=JANUARY)
    assert collecting.collect().issued == 1
    assert [invoice["total"] for invoice in collecting.at_stripe()] == [1_100, 1_007]
    descriptions = [line["description"] for line in collecting.at_stripe()[1]["lines"]["data"]]
    assert any("Late usage of 2026-11-01" in description for description in descriptions)


def test_what_is_too_little_to_charge_is_settled_at_stripe_with_the_next_invoice(collecting: Collecting) -> None:
    collecting.close(7, plan=PRICED_BY_US.replace('"10.00"', '"0"'))
    collecting.collect()
    [theirs] = collecting.at_stripe()
    assert (theirs["status"], theirs["total"], theirs["amount_due"], theirs["ending_balance"]) == ("paid", 7, 0, 7)
    assert collecting.invoice()["status"] == "paid"


def test_more_lines_than_stripe_takes_become_fewer_over_the_same_total(collecting: Collecting) -> None:
    # Three meters with a hundred tiers each, every tier one unit wide and a cent dearer than the one before.
    tiers = ", ".join(f'{{ up_to = {n}, price = "0.{n:02}" }}' for n in range(1, 100))
    prices = "".join(
        f'[[plans.ours.prices]]\nmeter = "{meter}"\ntiers = [{tiers}, {{ up_to = "inf", price = "1" }}]\n'
        for meter in ("images", "songs", "films")
    )
    collecting.ledger.plan(PRICED_BY_US + prices)
    collecting.ledger.customer("ada", "ours", stripe=CUSTOMER)
    collecting.ledger.use(model="m", units={"images": 100, "songs": 100, "films": 100})
    collecting.ledger.close(now=collecting.clock.now())
    assert len(collecting.ledger.lines()) == 301

    assert collecting.collect().issued == 1

    [theirs] = collecting.at_stripe()
    assert theirs["total"] == 1_000 + 3 * sum(range(1, 101))
    assert len(theirs["lines"]["data"]) == 250
    # 301 - 249 = 52 smallest: three each of 1 to 17 cents, and the first one of 18
    last = theirs["lines"]["data"][-1]
    assert (last["description"], last["amount"]) == ("52 smaller lines", 3 * sum(range(1, 18)) + 18)


class TestWhatGoesWrong:
    @pytest.mark.parametrize("fault", [fault for fault in FaultKind if not fault.startswith("hang")])
    @pytest.mark.parametrize("path", [INVOICES, ITEMS, FINALIZE])
    def test_the_invoice_is_there_once_and_over_the_right_amount(
        self, collecting: Collecting, fault: FaultKind, path: str
    ) -> None:
        collecting.close(100, 20, 3)
        collecting.standin.inject(fault, method="POST", path=path)
        for _ in range(4):
            collecting.collect()
            collecting.wait(minutes=1)
        [theirs] = collecting.at_stripe()
        assert (theirs["status"], theirs["total"]) == ("open", 1_123)
        assert collecting.rows()[0]["state"] == "issued"

    def test_a_day_of_silence_is_ended_by_looking(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.DROP_AFTER, method="POST", path=INVOICES)
        collecting.collect()
        collecting.wait(days=30)
        collecting.collect()
        assert len(collecting.made()) == 1
        [theirs] = collecting.at_stripe()
        assert (theirs["status"], theirs["total"]) == ("open", 1_100)

    def test_after_a_day_nothing_is_sent_on_hope_until_the_last_attempt_must_have_shown(
        self, collecting: Collecting
    ) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.DROP_BEFORE, method="POST", path=INVOICES, times=2)
        collecting.collect()
        collecting.wait(hours=22, minutes=50)
        collecting.collect()
        collecting.wait(minutes=30)
        collecting.collect()
        assert len(collecting.made()) == 2, "it was looked for only"
        collecting.wait(hours=1)
        assert collecting.collect().issued == 1
        assert len(collecting.made()) == 3

    def test_a_draft_that_comes_to_something_else_is_deleted_and_waits_for_a_person(
        self, collecting: Collecting
    ) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.DROP_BEFORE, method="POST", path=FINALIZE)
        collecting.collect()
        [theirs] = collecting.at_stripe()
        collecting.ledger.run("UPDATE collections SET demand = jsonb_set(demand, '{currency}', '\"eur\"')")
        collecting.wait(minutes=1)

        assert collecting.collect() == CollectingSummary(tried=1, parked=1)
        assert theirs["id"] not in {invoice["id"] for invoice in collecting.at_stripe()}
        assert "waits for a person" in collecting.invoice()["alarm"]

        assert collecting.collect().tried == 0
        assert collecting.collect(insist=True).issued == 1
        [theirs] = collecting.at_stripe()
        assert (theirs["status"], theirs["total"], theirs["currency"]) == ("open", 1_100, "usd")
        assert collecting.invoice()["alarm"] is None

    def test_lines_that_somebody_else_put_on_the_draft_are_taken_off(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.DROP_BEFORE, method="POST", path=FINALIZE)
        collecting.collect()
        [draft] = collecting.at_stripe()
        collecting.stripe.attempt(
            lambda client: client.v1.invoice_items.create({"customer": CUSTOMER, "invoice": draft["id"], "amount": 5})
        )
        collecting.wait(minutes=1)
        collecting.collect()
        assert [invoice["total"] for invoice in collecting.at_stripe()] == [1_100]

    def test_a_customer_deleted_at_stripe_parks_the_invoice_until_a_person_has_mended_it(
        self, collecting: Collecting
    ) -> None:
        collecting.close(100)
        collecting.standin.delete_customer(CUSTOMER)
        assert collecting.collect() == CollectingSummary(tried=1, parked=1)
        assert "No such customer" in collecting.rows()[0]["last_error"]
        collecting.standin.add_customer("cus_again")
        collecting.ledger.run("UPDATE customers SET stripe_customer_id = 'cus_again'")
        assert collecting.collect(insist=True).issued == 1
        assert [(one["customer"], one["total"]) for one in collecting.at_stripe()] == [("cus_again", 1_100)]

    def test_a_draft_deleted_by_hand_is_made_again(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.DROP_BEFORE, method="POST", path=ITEMS)
        collecting.collect()
        [draft] = collecting.at_stripe()
        collecting.stripe.attempt(lambda client: client.v1.invoices.delete(draft["id"]))
        collecting.wait(minutes=1)
        assert collecting.collect().issued == 1
        assert [one["total"] for one in collecting.at_stripe()] == [1_100]


def test_who_has_paid_is_looked_up_where_the_webhook_was_lost(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    [theirs] = collecting.at_stripe()
    assert collecting.follow() == 0
    collecting.stripe.attempt(lambda client: client.v1.invoices.pay(theirs["id"]))
    collecting.wait(hours=12)
    assert collecting.follow() == 1
    assert collecting.invoice()["status"] == "paid"
    collecting.wait(hours=12)
    calls = len(collecting.standin.calls())
    assert collecting.follow() == 0
    assert len(collecting.standin.calls()) == calls


def test_the_row_says_word_for_word_what_is_sent(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    demand: dict[str, Any] = collecting.rows()[0]["demand"]
    assert [line["amount"] for line in demand["lines"]] == [100, 1_000]
    assert datetime.fromisoformat(demand["period"][0]) == datetime(2026, 11, 1, tzinfo=UTC)


class TestReconciling:
    def seen(self, collecting: Collecting, *, ask: bool = True) -> ReconciledPeriod:
        collectors = collecting.collectors if ask else {}
        [row] = reconcile(collecting.ledger.database, now=collecting.clock.now(), collectors=collectors).rows
        return row

    def test_ours_and_the_collectors_amounts_stand_side_by_side(self, collecting: Collecting) -> None:
        collecting.close(100)
        row = self.seen(collecting)
        assert (row.ok, row.amount_to_collect, row.amount_collected) == (True, 1_100, None)
        assert row.notes == [f"invoice {collecting.invoice()['id']} waits to be collected"]
        collecting.collect()
        row = self.seen(collecting)
        assert (row.ok, row.amount_to_collect, row.amount_collected, row.notes) == (True, 1_100, 1_100, [])
        row = self.seen(collecting, ask=False)
        assert (row.ok, row.amount_to_collect, row.amount_collected) == (True, 1_100, None)

    def test_what_is_on_its_way_is_a_note_and_what_is_parked_a_difference(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.standin.inject(FaultKind.RATE_LIMIT, method="POST", path=INVOICES)
        collecting.collect()
        row = self.seen(collecting)
        assert row.ok
        assert row.notes == [
            f"invoice {collecting.invoice()['id']} is not with stripe yet: too many calls at the moment"
        ]
        collecting.standin.delete_customer(CUSTOMER)
        collecting.collect(insist=True)
        row = self.seen(collecting)
        assert not row.ok
        assert "cannot be collected by stripe" in row.differences[0]

    def test_another_amount_at_the_collector_is_a_difference(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.collect()
        collecting.ledger.run("UPDATE collections SET demand = jsonb_set(demand, '{lines,0,amount}', '99')")
        [theirs] = collecting.at_stripe()
        ours = collecting.invoice()["id"]
        assert self.seen(collecting).differences == [
            f"stripe was asked for 1099, invoice {ours} is over 1100",
            f"{theirs['id']} is over 1100 usd at stripe, ours over 1099 usd",
        ]

    def test_an_answer_that_does_not_come_is_said(self, collecting: Collecting) -> None:
        collecting.close(100)
        collecting.collect()
        collecting.standin.inject(FaultKind.DROP_BEFORE)
        [difference] = self.seen(collecting).differences
        assert "is not known" in difference
