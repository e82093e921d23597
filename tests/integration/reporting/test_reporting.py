"""Telling Stripe: once, whatever goes wrong on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, WITH_FEE
from integration.reporting.conftest import CUSTOMER, Reporting
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.reporting import ReportingSummary, report_owed
from tollkeeper.testing import FaultKind

EVENTS = "/v1/billing/meter_events"


def test_what_a_closed_period_owes_is_sent_and_its_invoice_is_final(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.ledger.use(tokens_in=30, tokens_out=20, cached_tokens_in=10, model="model-1", stored=NOVEMBER)

    assert reporting.report() == ReportingSummary(sent=1, acknowledged=1, finalized=1)

    [event] = reporting.standin.meter_events()
    assert event["event_name"] == "ai_tokens"
    assert event["timestamp"] == int((DECEMBER - timedelta(seconds=1)).timestamp())
    assert event["payload"] == {
        "stripe_customer_id": CUSTOMER,
        "value": "100",
        "model": "model-0",
        "token_type": "input",
    }
    assert event["identifier"] == "ada:20261101T000000Z:model-0:input:r1"
    [invoice] = reporting.ledger.invoices()
    assert (invoice["status"], invoice["finalized_at"]) == ("finalized", reporting.clock.now())


def test_a_second_run_sends_nothing(reporting: Reporting) -> None:
    reporting.close(100, 200)
    assert reporting.report().acknowledged == 2
    assert reporting.report() == ReportingSummary()
    assert len(reporting.sent()) == 2


def test_an_invoice_is_final_with_its_last_report_and_not_before(reporting: Reporting) -> None:
    reporting.close(1, 2)
    reporting.report(limit=1)
    assert reporting.invoice_status() == ["draft"]
    reporting.report(limit=1)
    assert reporting.invoice_status() == ["finalized"]


def test_a_period_that_is_not_over_is_never_reported(reporting: Reporting) -> None:
    reporting.clock.set(NOVEMBER + timedelta(days=20))
    reporting.close(100)
    assert reporting.states() == ["pending"]
    assert reporting.report(as_of=JANUARY) == ReportingSummary()
    assert reporting.sent() == []


def test_as_of_chooses_which_periods_are_reported(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.ledger.use(tokens_in=7, at=DECEMBER)
    reporting.clock.set(JANUARY + timedelta(minutes=1))
    reporting.ledger.close(as_of=JANUARY)
    reporting.report(as_of=DECEMBER)
    assert reporting.states() == ["acknowledged", "pending"]


def test_a_customer_unknown_to_stripe_waits_and_says_why_until_it_is_known(reporting: Reporting) -> None:
    reporting.close(100, stripe=None)
    assert reporting.report() == ReportingSummary(pending=1)
    assert reporting.rows()[0]["last_error"] == "the customer has no stripe_customer_id"
    reporting.ledger.run("UPDATE customers SET stripe_customer_id = :id", id=CUSTOMER)
    assert reporting.report().acknowledged == 1


def test_an_invoice_with_nothing_to_report_is_final_at_once(reporting: Reporting) -> None:
    reporting.ledger.plan(WITH_FEE)
    reporting.ledger.customer(plan="fee")
    reporting.ledger.close()
    assert reporting.invoice_status() == ["draft"], "the close itself makes nothing final"
    assert reporting.report().finalized == 1
    assert reporting.invoice_status() == ["finalized"]


def test_nothing_is_final_before_its_period_is_over(reporting: Reporting) -> None:
    reporting.clock.set(NOVEMBER + timedelta(days=20))
    reporting.ledger.plan(WITH_FEE)
    reporting.ledger.customer(plan="fee")
    reporting.ledger.close(now=reporting.clock.now())
    assert reporting.report() == ReportingSummary()
    assert reporting.invoice_status() == ["draft"]
    reporting.clock.set(DECEMBER)
    assert reporting.report().finalized == 1


@pytest.mark.parametrize("collect", ["invoices", "off"])
def test_what_stripe_does_not_price_is_not_reported(reporting: Reporting, collect: str) -> None:
    reporting.ledger.collect = collect
    reporting.close(100)
    assert reporting.report() == ReportingSummary()
    assert reporting.invoice_status() == ["draft"]


class TestWhatGoesWrong:
    @pytest.mark.parametrize("fault", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER])
    def test_a_lost_reply_is_asked_for_again_with_the_same_key_and_body(
        self, reporting: Reporting, fault: FaultKind
    ) -> None:
        reporting.close(100)
        reporting.standin.inject(fault, path=EVENTS)
        assert reporting.report() == ReportingSummary(sent=1, pending=1)
        assert reporting.report() == ReportingSummary(pending=1), "it waits before it tries again"
        reporting.wait(seconds=5)
        assert reporting.report().acknowledged == 1
        first, second = reporting.sent()
        assert first["idempotency_key"] == second["idempotency_key"]
        assert reporting.counted() == 100

    def test_a_stored_failure_gets_another_key_and_the_same_identifier(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.standin.inject(FaultKind.ERROR_AFTER, path=EVENTS)
        for _ in range(3):
            reporting.report()
            reporting.wait(minutes=1)
        keys = [call["idempotency_key"] for call in reporting.sent()]
        assert keys[0] == keys[1] != keys[2]
        assert len({call["params"]["identifier"] for call in reporting.sent()}) == 1
        assert reporting.states() == ["acknowledged"]
        assert reporting.counted() == 100

    def test_a_failure_that_applied_nothing_is_mended_by_the_other_key(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.standin.inject(FaultKind.ERROR_BEFORE, path=EVENTS)
        for _ in range(3):
            reporting.report()
            reporting.wait(minutes=1)
        assert reporting.states() == ["acknowledged"]
        assert reporting.counted() == 100

    def test_too_many_calls_are_put_off_for_as_long_as_stripe_says(self, reporting: Reporting) -> None:
        reporting.close(100, 200)
        reporting.standin.inject(FaultKind.RATE_LIMIT, path=EVENTS, retry_after=90)
        assert reporting.report() == ReportingSummary(sent=1, pending=2), "and the run ends there"
        reporting.wait(seconds=89)
        assert reporting.report().sent == 1, "the other one goes, this one waits"
        reporting.wait(seconds=1)
        assert reporting.report().acknowledged == 1
        assert reporting.counted() == 300

    def test_a_stripe_that_does_not_answer_is_left_alone_after_three_tries(self, reporting: Reporting) -> None:
        reporting.close(*range(1, 7))
        reporting.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS, times=99)
        assert reporting.report() == ReportingSummary(sent=3, pending=6)

    def test_each_attempt_waits_longer_than_the_one_before_and_never_over_half_an_hour(
        self, reporting: Reporting
    ) -> None:
        reporting.close(100)
        reporting.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS, times=99)
        waits = []
        for _ in range(12):
            reporting.report(insist=True)
            waits.append((reporting.rows()[0]["next_attempt_at"] - reporting.clock.now()).total_seconds())
        assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800, 1800]

    def test_a_refusal_is_final_until_a_person_has_mended_it(
        self, reporting: Reporting, caplog: pytest.LogCaptureFixture
    ) -> None:
        reporting.close(100)
        reporting.ledger.run("UPDATE stripe_reports SET event_name = 'no_such_meter'")
        assert reporting.report() == ReportingSummary(sent=1, rejected=1)
        [row] = reporting.rows()
        assert row["last_error"] == 'HTTP 400: No active meter found for event name "no_such_meter".'
        assert "Stripe rejects report" in caplog.text
        assert reporting.ledger.invoices()[0]["alarm"] == "Stripe rejects the report of model-0 input"
        assert reporting.report().sent == 0

        reporting.standin.add_meter("no_such_meter")
        assert reporting.report(insist=True) == ReportingSummary(sent=1, acknowledged=1, finalized=1)
        assert reporting.ledger.invoices()[0]["alarm"] is None

    def test_a_report_for_the_wrong_customer_goes_to_the_right_one_once_that_is_known(
        self, reporting: Reporting
    ) -> None:
        reporting.close(100, stripe="cus_typo")
        reporting.ledger.run("UPDATE stripe_reports SET event_name = 'nothing'")
        reporting.report()
        reporting.ledger.run("UPDATE stripe_reports SET event_name = 'ai_tokens'")
        reporting.ledger.run("UPDATE customers SET stripe_customer_id = :id", id=CUSTOMER)
        reporting.report(insist=True)
        assert reporting.counted() == 100

    def test_a_wrong_api_key_rejects_nothing(self, reporting: Reporting) -> None:
        reporting.close(100, 200)
        stripe, reporting.stripe = (
            reporting.stripe,
            StripePayments("sk_test_wrong", api_base=reporting.stripe._api_base, timeout_seconds=5),
        )
        assert reporting.report() == ReportingSummary(sent=1, pending=2)
        reporting.stripe = stripe
        assert reporting.report(insist=True).acknowledged == 2

    def test_an_identifier_that_we_never_sent_counts_only_if_stripes_sum_says_so(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.stripe.send_meter_event(
            event_name="ai_tokens",
            identifier=reporting.rows()[0]["identifier"],
            timestamp=int(NOVEMBER.timestamp()),
            payload={"stripe_customer_id": CUSTOMER, "value": "99"},
            idempotency_key="somebody-else",
        )
        assert reporting.report() == ReportingSummary(sent=1, pending=1)
        assert "its sum does not hold this quantity" in reporting.rows()[0]["last_error"]
        assert reporting.ledger.invoices()[0]["alarm"] is not None

    def test_a_database_brought_back_from_a_copy_does_not_send_again(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.report()
        reporting.ledger.run(
            "UPDATE stripe_reports SET state = 'pending', attempts = 0, first_sent_at = NULL, last_sent_at = NULL, "
            "stripe_customer_id = NULL, acknowledged_at = NULL"
        )
        reporting.standin.prune_idempotency_keys()
        assert reporting.report().acknowledged == 1
        assert reporting.counted() == 100


class TestAfterADay:
    """Stripe has forgotten identifier and key by now: only its sums can tell."""

    def unanswered(self, reporting: Reporting, *usage: int, fault: FaultKind) -> None:
        reporting.close(*usage)
        reporting.standin.inject(fault, path=EVENTS, times=len(usage))
        reporting.report()
        reporting.standin.clear_faults()
        reporting.wait(hours=25)

    def test_what_stripes_sum_holds_is_not_sent_again(self, reporting: Reporting) -> None:
        self.unanswered(reporting, 100, fault=FaultKind.DROP_AFTER)
        assert reporting.report() == ReportingSummary(acknowledged=1, finalized=1)
        assert len(reporting.sent()) == 1
        assert reporting.counted() == 100

    def test_what_it_clearly_lacks_is_sent_anew(self, reporting: Reporting) -> None:
        self.unanswered(reporting, 100, fault=FaultKind.DROP_BEFORE)
        assert reporting.report().acknowledged == 1
        assert reporting.counted() == 100

    def test_of_several_only_those_that_it_lacks_are_sent(self, reporting: Reporting) -> None:
        reporting.close(100, 60, 60)
        for fault in (FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.DROP_AFTER):
            reporting.standin.inject(fault, path=EVENTS)
        reporting.report()
        reporting.wait(hours=25)
        reporting.report()
        assert reporting.states() == ["acknowledged"] * 3
        assert reporting.counted() == 220

    def test_a_sum_that_fits_nothing_is_left_to_a_person(
        self, reporting: Reporting, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.unanswered(reporting, 100, fault=FaultKind.DROP_BEFORE)
        reporting.stripe.send_meter_event(
            event_name="ai_tokens",
            identifier="by-hand",
            timestamp=int((DECEMBER - timedelta(hours=1)).timestamp()),
            payload={"stripe_customer_id": CUSTOMER, "value": "40"},
            idempotency_key="by-hand",
        )
        assert reporting.report() == ReportingSummary(pending=1)
        assert reporting.counted() == 40
        assert "Stripe's sum of 40 ai_tokens is no sum of what was sent" in caplog.text

    def test_a_sum_that_may_lag_behind_the_last_attempt_is_waited_for(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS)
        reporting.report()
        reporting.wait(hours=22, minutes=59)
        reporting.standin.inject(FaultKind.DROP_AFTER, path=EVENTS)
        reporting.report()
        reporting.wait(minutes=40)
        assert reporting.report() == ReportingSummary(pending=1)
        reporting.wait(minutes=20)
        assert reporting.report().acknowledged == 1
        assert len(reporting.sent()) == 2
        assert reporting.counted() == 100

    def test_a_question_that_stripe_does_not_answer_is_asked_again(self, reporting: Reporting) -> None:
        self.unanswered(reporting, 100, fault=FaultKind.DROP_AFTER)
        reporting.standin.inject(FaultKind.DROP_BEFORE, path="/v1/billing/meters*")
        assert reporting.report() == ReportingSummary(pending=1)
        reporting.wait(minutes=15)
        assert reporting.report().acknowledged == 1

    def test_a_period_that_begins_within_a_minute_is_told_from_the_one_before(self, reporting: Reporting) -> None:
        anchor = datetime(2026, 11, 1, 14, 37, 5, tzinfo=UTC)
        reporting.ledger.plan(CENT.replace('"usd"', '"usd"\ninterval = "anniversary"'))
        reporting.ledger.customer(since=anchor, anchor=anchor, stripe=CUSTOMER)
        reporting.ledger.use(tokens_in=100, at=anchor)
        reporting.ledger.use(tokens_in=100, at=anchor + timedelta(days=30))
        reporting.clock.set(anchor + timedelta(days=61, minutes=5))
        reporting.ledger.close(as_of=reporting.clock.now())
        reporting.report(limit=1)
        reporting.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS)
        reporting.report()
        reporting.wait(hours=25)
        reporting.report()
        assert reporting.states() == ["acknowledged"] * 2
        assert reporting.counted() == 200


class TestReadingBack:
    def test_what_stripe_has_counted_becomes_confirmed(self, reporting: Reporting) -> None:
        reporting.close(100, 200)
        reporting.report()
        assert reporting.confirm().confirmed == 0, "its sums are given a moment first"
        reporting.wait(minutes=5)
        assert reporting.confirm().confirmed == 1
        assert reporting.states() == ["confirmed", "confirmed"]
        assert reporting.confirm().confirmed == 0

    def test_a_sum_that_stays_short_is_an_alarm(self, reporting: Reporting, caplog: pytest.LogCaptureFixture) -> None:
        reporting.close(100, stripe="cus_unknown_there")  # answered with 200, refused later
        reporting.report()
        reporting.wait(minutes=5)
        assert reporting.confirm().differing == 1
        assert reporting.confirm().differing == 0, "it is looked at again after a while"
        assert reporting.ledger.invoices()[0]["alarm"] is None
        reporting.wait(hours=2)
        assert reporting.confirm().differing == 1
        alarm = "Stripe refused: No such customer: 'cus_unknown_there'"
        assert reporting.ledger.invoices()[0]["alarm"] == alarm
        assert alarm in caplog.text
        assert reporting.states() == ["rejected"]

    def test_what_stripe_took_and_did_not_count_is_parked_and_sent_under_another_identifier_once_mended(
        self, reporting: Reporting
    ) -> None:
        reporting.close(100, 60)
        reporting.report()
        self.forget(reporting, value=60)
        reporting.wait(hours=2)
        assert reporting.confirm().differing == 1
        assert reporting.states() == ["acknowledged", "rejected"]
        assert "Stripe counts 100 ai_tokens, reported were 160" in reporting.ledger.invoices()[0]["alarm"]
        assert reporting.report().sent == 0, "a person has to ask for it"

        assert reporting.report(insist=True).acknowledged == 1
        assert reporting.counted() == 160
        first, second = (event["identifier"] for event in reporting.standin.meter_events()[1:])
        assert second == f"{first}.2"
        reporting.wait(hours=2)
        assert reporting.confirm().confirmed == 1

    def test_what_was_rejected_and_is_in_the_sum_all_the_same_is_not_sent_again(self, reporting: Reporting) -> None:
        reporting.close(100, 60)
        reporting.report()
        reporting.ledger.run("UPDATE stripe_reports SET state = 'rejected' WHERE value = 60")
        reporting.wait(hours=2)
        assert reporting.report(insist=True).acknowledged == 1
        assert len(reporting.sent()) == 2
        assert reporting.counted() == 160

    def forget(self, reporting: Reporting, value: int) -> None:
        """Stripe finds something wrong with an event that it has taken."""
        reporting.standin.reject_event(
            next(e["identifier"] for e in reporting.standin.meter_events() if e["payload"]["value"] == str(value))
        )

    def test_a_run_ends_at_its_limit_and_says_that_there_is_more(self, reporting: Reporting) -> None:
        for n in range(3):
            reporting.standin.add_customer(f"cus_{n}")
            reporting.close(100, user_id=f"user-{n}", stripe=f"cus_{n}")
        reporting.report()
        reporting.wait(minutes=5)
        first, second = reporting.confirm(limit=2), reporting.confirm(limit=2)
        assert (first.confirmed, first.more, second.confirmed, second.more) == (2, True, 1, False)

    def test_a_stripe_that_does_not_answer_is_asked_three_times_and_no_more(self, reporting: Reporting) -> None:
        for n in range(5):
            reporting.close(100, user_id=f"user-{n}", stripe=f"cus_{n}")
        reporting.report()
        reporting.wait(hours=2)
        reporting.standin.inject(FaultKind.DROP_BEFORE, path="/v1/billing/meters*", times=99)
        before = len(reporting.standin.calls())
        assert reporting.confirm().differing == 5
        assert len(reporting.standin.calls()) - before == 3
        assert reporting.ledger.rows("SELECT FROM invoices WHERE alarm IS NOT NULL") == [], (
            "nobody knows of a difference"
        )

    def test_only_whole_sums_are_confirmed(self, reporting: Reporting) -> None:
        reporting.close(100, 200)
        reporting.report(limit=1)
        reporting.wait(minutes=5)
        assert reporting.confirm().confirmed == 0


def test_reports_of_thousands_of_digits_are_not_rounded(reporting: Reporting) -> None:
    reporting.close(2**53 - 1)
    report_owed(reporting.ledger.database, reporting.stripe, now=reporting.clock.now())
    assert reporting.counted() == Decimal(2**53 - 1)
