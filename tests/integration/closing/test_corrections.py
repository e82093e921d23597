"""What a person corrects: adjustments by hand, drafts that are void, drafts that are drafted anew. Nothing is lost or billed twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from integration.closing.test_late_usage import VOLUME
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.services.adjusting import adjust, list_adjustments
from tollkeeper.services.closing import ClosingSummary
from tollkeeper.services.crediting import grant, list_grants
from tollkeeper.services.explaining import explain
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.reversing import reverse
from tollkeeper.services.voiding import redraft, void

FEBRUARY = datetime(2027, 2, 1, tzinfo=UTC)
LATE = DECEMBER + timedelta(days=3)
BY: dict[str, Any] = {"by": "eve", "reason": "as agreed"}


def adjusted(ledger: Ledger, amount: int, *, at: datetime = NOVEMBER, adjustment_id: UUID | None = None) -> UUID:
    made = adjust(ledger.database, "ada", amount, **BY, adjustment_id=adjustment_id or uuid4(), now=at)
    return made.id


def totals(ledger: Ledger) -> list[tuple[str, int, int]]:
    return [(i["status"], i["revision"], i["total_amount"]) for i in ledger.invoices()]


def everything_agrees(ledger: Ledger) -> None:
    found = reconcile(ledger.database, now=FEBRUARY)
    assert found.ok, [row.differences for row in found.rows]


class TestAdjustments:
    def test_stand_on_the_next_invoice_with_their_reason(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=800)
        first, second = adjusted(ledger, -500), adjusted(ledger, 20, at=NOVEMBER + timedelta(days=1))
        ledger.close()
        assert ledger.lines() == [
            ("usage", "*", "*", Decimal(800), 800),
            ("adjustment", None, None, Decimal(1), -500),
            ("adjustment", None, None, Decimal(1), 20),
        ]
        [invoice] = ledger.invoices()
        assert invoice["total_amount"] == 320
        [items] = ledger.rows("SELECT * FROM collections")
        assert [line["amount"] for line in items["demand"]["lines"]] == [-500, 20]
        assert {one.invoice_id for one in list_adjustments(ledger.database, "ada")} == {invoice["id"]}
        assert {one.id for one in list_adjustments(ledger.database, "ada")} == {first, second}
        everything_agrees(ledger)
        ledger.use(tokens_in=1, at=DECEMBER)
        ledger.close(as_of=JANUARY)
        assert totals(ledger)[1] == ("draft", 1, 1), "and on no other"

    def test_make_an_invoice_by_themselves_where_there_is_nothing_else(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        adjusted(ledger, 250, at=NOVEMBER + timedelta(days=3))
        assert ledger.close(as_of=DECEMBER) == ClosingSummary(closed=1, invoices=1)
        assert ledger.close(as_of=FEBRUARY) == ClosingSummary(already=1)
        assert totals(ledger) == [("draft", 1, 250)]

    def test_below_zero_are_carried_forward(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        adjusted(ledger, -500)
        ledger.use(tokens_in=1_000, at=DECEMBER)
        ledger.close(as_of=JANUARY)
        assert totals(ledger) == [("draft", 1, 0), ("draft", 1, 600)]

    def test_with_the_same_id_are_the_same_one_and_nothing_else(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        chosen = uuid4()
        for _ in range(2):
            adjusted(ledger, -500, adjustment_id=chosen)
        with pytest.raises(InvalidInput):
            adjusted(ledger, -501, adjustment_id=chosen)
        assert [one.amount for one in list_adjustments(ledger.database, "ada")] == [-500]
        assert len(ledger.rows("SELECT FROM audit_trail WHERE kind = 'invoice.adjusted'")) == 1

    def test_of_nothing_or_of_nobody_are_refused(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        with pytest.raises(InvalidInput):
            adjusted(ledger, 0)
        with pytest.raises(NotFound):
            adjust(ledger.database, "bob", 5, **BY, adjustment_id=uuid4(), now=NOVEMBER)

    def test_are_no_part_of_what_was_billed_for_usage(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        adjusted(ledger, 50)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.close(as_of=JANUARY)
        assert totals(ledger) == [("draft", 1, 150), ("draft", 1, 7)]
        everything_agrees(ledger)


class TestVoid:
    def test_writes_off_what_stands_on_the_draft_and_says_why(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.close()
        [before] = ledger.invoices()

        void(ledger.database, before["id"], **BY, now=LATE)

        [invoice] = ledger.invoices()
        assert (invoice["status"], invoice["void_reason"], invoice["total_amount"]) == ("void", "as agreed", 100)
        assert ledger.rows("SELECT FROM stripe_reports") == [], "Stripe is not told"
        ledger.use(tokens_in=7, stored=LATE)
        ledger.close(as_of=JANUARY)
        assert totals(ledger) == [("void", 1, 100), ("draft", 1, 7)], "late usage is billed, the rest stays written off"
        everything_agrees(ledger)
        [act] = ledger.rows("SELECT actor, reason FROM audit_trail WHERE kind = 'invoice.void'")
        assert act == {"actor": "eve", "reason": "as agreed"}

    def test_gives_back_credit_what_was_carried_over_and_adjustments(self, ledger: Ledger) -> None:
        ledger.plan(VOLUME)
        ledger.customer(plan="volume")
        ledger.use(tokens_in=100)
        ledger.close()
        ledger.use(tokens_in=1, stored=LATE)  # 899 cents too much were billed
        ledger.use(tokens_in=100, at=DECEMBER)  # 1,000 cents
        grant(ledger.database, "ada", unit="usd", amount=50, now=LATE)
        adjusted(ledger, 30, at=LATE)
        ledger.close(as_of=JANUARY)
        december = ledger.invoices()[1]
        assert (december["total_amount"], december["carried"]) == (1000 - 899 + 30 - 50, 0)

        void(ledger.database, december["id"], **BY, now=JANUARY)

        assert [one.balance for one in list_grants(ledger.database, "ada")] == [50]
        assert [one.invoice_id for one in list_adjustments(ledger.database, "ada")] == [None]
        ledger.use(tokens_in=90, at=JANUARY)
        ledger.close(as_of=FEBRUARY)
        assert totals(ledger)[-1] == ("draft", 1, 900 + 30 - 50)
        everything_agrees(ledger)

    @pytest.mark.parametrize("status", ["finalized", "paid", "void", "uncollectible"])
    def test_is_for_drafts_alone(self, ledger: Ledger, status: str) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.close()
        ledger.run("UPDATE invoices SET status = :status", status=status)
        [invoice] = ledger.invoices()
        for deed in (void, redraft):
            with pytest.raises(InvalidInput, match=status):
                deed(ledger.database, invoice["id"], **BY, now=LATE)
        assert ledger.invoices() == [invoice]

    def test_is_too_late_once_stripe_was_told(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100, tokens_out=5)
        ledger.close()
        ledger.run("UPDATE stripe_reports SET state = 'sending', attempts = 1 WHERE token_type = 'input'")
        [invoice] = ledger.invoices()
        with pytest.raises(InvalidInput, match="Stripe has not been told"):
            void(ledger.database, invoice["id"], **BY, now=LATE)
        assert ledger.invoices() == [invoice]
        assert len(ledger.rows("SELECT FROM stripe_reports")) == 2, "nothing of it happened"

    @pytest.mark.parametrize(("first_sent_at", "allowed"), [(None, True), (LATE, False)])
    def test_is_too_late_once_a_collector_may_have_heard_of_it(
        self, ledger: Ledger, first_sent_at: datetime | None, *, allowed: bool
    ) -> None:
        ledger.collect = "invoices"
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.close()
        [invoice] = ledger.invoices()
        ledger.run(
            "INSERT INTO collections (invoice_id, user_id, collector, first_sent_at, created_at) "
            "VALUES (:id, 'ada', 'stripe', :sent, :now)",
            id=invoice["id"],
            sent=first_sent_at,
            now=LATE,
        )
        if allowed:
            void(ledger.database, invoice["id"], **BY, now=LATE)
        else:
            with pytest.raises(InvalidInput, match="no collector has heard"):
                void(ledger.database, invoice["id"], **BY, now=LATE)
        assert len(ledger.rows("SELECT FROM collections")) == (0 if allowed else 1)

    def test_of_an_unknown_invoice_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(NotFound):
            void(ledger.database, uuid4(), **BY, now=LATE)


class TestRedraft:
    def test_bills_all_that_is_stored_by_now_and_keeps_the_old_draft_as_it_was(self, ledger: Ledger) -> None:
        ledger.plan(TIERED)
        ledger.customer(plan="tiered")
        ledger.use(tokens_in=80_000)
        event = ledger.use(tokens_in=900_000)
        ledger.close()
        [old], lines = ledger.invoices(), ledger.lines()
        reverse(ledger.database, event.id, **BY, now=LATE)
        ledger.use(tokens_in=120_000, stored=LATE)
        adjusted(ledger, -5, at=LATE)

        new = redraft(ledger.database, old["id"], **BY, now=LATE)

        assert new is not None
        assert totals(ledger) == [("void", 1, 264), ("draft", 2, 25)]
        assert ledger.invoices()[0]["void_reason"] == "as agreed"
        assert ledger.lines()[: len(lines)] == lines
        assert ledger.lines()[len(lines) :] == [
            ("usage", "gpt-4o*", "*", Decimal(100_000), 0),
            ("usage", "gpt-4o*", "*", Decimal(100_000), 30),
            ("adjustment", None, None, Decimal(1), -5),
        ]
        row = ledger.period()
        assert (row["revision"], row["billed_totals"]) == (3, row["totals"])
        everything_agrees(ledger)
        assert ledger.close(as_of=FEBRUARY).invoices == 0, "nothing is late any more"

    def test_lists_the_very_events_behind_its_lines(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        new = redraft(ledger.database, ledger.invoices()[0]["id"], **BY, now=LATE)
        assert new is not None
        [line] = explain(ledger.database, new.id).lines
        assert line.events_sql is not None
        assert sorted(row["tokens_in"] for row in ledger.rows(line.events_sql.replace(":", r"\:"))) == [5, 7]

    def test_of_an_invoice_with_late_usage_bills_it_again_and_once(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.use(tokens_in=100, at=DECEMBER)
        ledger.close(as_of=JANUARY)
        ledger.use(tokens_in=1, stored=JANUARY)
        december = ledger.invoices()[1]

        new = redraft(ledger.database, december["id"], **BY, now=JANUARY)

        assert new is not None
        assert totals(ledger) == [("draft", 1, 5), ("void", 1, 107), ("draft", 2, 108)]
        late = [one for one in explain(ledger.database, new.id).lines if one.line.kind == "late_usage"]
        assert [one.line.amount for one in late] == [8]
        assert late[0].events_sql is not None
        found = ledger.rows(late[0].events_sql.replace(":", r"\:"))
        assert sorted(row["tokens_in"] for row in found) == [1, 7]
        everything_agrees(ledger)

    def test_is_refused_where_a_later_invoice_bills_late_usage_of_the_period(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.close(as_of=JANUARY)
        before = totals(ledger)
        with pytest.raises(InvalidInput, match="later invoice"):
            redraft(ledger.database, ledger.invoices()[0]["id"], **BY, now=JANUARY)
        assert totals(ledger) == before

    def test_of_a_negative_total_that_later_invoices_have_used_up_is_refused(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        adjusted(ledger, -500)
        ledger.use(tokens_in=1_000, at=DECEMBER)
        ledger.close(as_of=JANUARY)
        for deed in (void, redraft):
            with pytest.raises(InvalidInput, match="used up"):
                deed(ledger.database, ledger.invoices()[0]["id"], **BY, now=JANUARY)

    def test_tells_stripe_what_is_missing_and_nothing_twice(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100, tokens_out=5)
        ledger.close()
        ledger.run("UPDATE stripe_reports SET state = 'acknowledged', attempts = 1 WHERE token_type = 'input'")
        ledger.use(tokens_in=7, tokens_out=1, stored=LATE)

        new = redraft(ledger.database, ledger.invoices()[0]["id"], **BY, now=LATE)

        assert new is not None
        reports = ledger.rows("SELECT * FROM stripe_reports ORDER BY token_type, revision")
        assert [(r["token_type"], r["revision"], int(r["value"]), r["state"]) for r in reports] == [
            ("input", 1, 100, "acknowledged"),
            ("input", 2, 7, "pending"),
            ("output", 2, 6, "pending"),
        ]
        assert {r["invoice_id"] for r in reports} == {new.id}
        everything_agrees(ledger)

    def test_of_a_period_of_which_nothing_is_left_leaves_none(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        event = ledger.use(tokens_in=100)
        ledger.close()
        reverse(ledger.database, event.id, **BY, now=LATE)
        assert redraft(ledger.database, ledger.invoices()[0]["id"], **BY, now=LATE) is None
        assert totals(ledger) == [("void", 1, 100)]
        everything_agrees(ledger)

    def test_asked_for_by_several_at_once_happens_once(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        ledger.use(tokens_in=100)
        ledger.close()
        [old] = ledger.invoices()

        def attempt(_: int) -> bool:
            try:
                return redraft(ledger.database, old["id"], **BY, now=LATE) is not None
            except InvalidInput:
                return False

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
        assert totals(ledger) == [("void", 1, 10_000), ("draft", 2, 10_000)]

    def test_of_sums_that_do_not_agree_is_refused(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.close()
        ledger.run("UPDATE usage_periods SET events = 7")
        with pytest.raises(InvalidInput, match="1 events, 7 in the running totals"):
            redraft(ledger.database, ledger.invoices()[0]["id"], **BY, now=LATE)
        assert totals(ledger) == [("draft", 1, 100)]
