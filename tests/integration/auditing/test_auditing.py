"""The audit trail: who did what, from what to what, in the same commit, and nothing of it can be changed."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.acting import acting_as
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.auditing import trail
from tollkeeper.services.onboarding import CustomerExists, add_customer, change_customer
from tollkeeper.services.receiving import receive_stripe
from tollkeeper.services.reporting import report_owed
from tollkeeper.storage.audit import AuditEntry, record
from tollkeeper.testing import FrozenClock, StripeStandIn, sign_stripe

NOW = DECEMBER + timedelta(hours=2)


@pytest.fixture
def standin() -> StripeStandIn:
    standin = StripeStandIn(FrozenClock(NOW))
    standin.add_customer("cus_ada")
    standin.add_meter("ai_tokens")
    return standin


def told(ledger: Ledger, **which: Any) -> list[tuple[str, str]]:
    return [(entry.actor, entry.kind) for entry in trail(ledger.database, **which)]


def only(ledger: Ledger, kind: str) -> AuditEntry:
    [entry] = trail(ledger.database, kind=kind)
    return entry


def test_every_deed_of_the_command_line_is_told_with_its_person_and_what_changed(
    ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    terminal = Terminal(ledger, NOVEMBER)
    file = tmp_path_factory.mktemp("plans") / "plans.toml"
    file.write_text(CENT + '[plans.other]\ncurrency = "usd"\nspend_cap = "5.00"\n')
    terminal("--by", "grace", "plans", "apply", str(file))
    terminal("--by", "grace", "customers", "add", "ada", "--email", "ada@example.com", "--plan", "cent")
    terminal("--by", "grace", "customers", "change", "ada", "--status", "suspended", "--email", "love@example.com")
    terminal("--by", "grace", "customers", "plan", "ada", "other")
    key = terminal("--by", "grace", "keys", "issue", "ada").stdout.strip().splitlines()[-1]
    terminal("--by", "grace", "keys", "revoke", key)
    terminal("--by", "grace", "keys", "revoke", key)  # the second time nothing happens, so nothing is told
    terminal("--by", "grace", "customers", "override", "ada", "--cap", "7.00")
    terminal("--by", "grace", "credits", "grant", "ada", "--amount", "50.00")
    terminal("--by", "grace", "customers", "close", "ada")

    assert told(ledger) == [
        ("cli grace", kind)
        for kind in (
            "plan.created",
            "plan.created",
            "customer.added",
            "customer.changed",
            "customer.moved",
            "key.issued",
            "key.revoked",
            "customer.overridden",
            "credit.granted",
            "customer.left",
        )
    ]
    changed = only(ledger, "customer.changed")
    assert (changed.before, changed.after) == (
        {"email": "a…@example.com", "status": "active"},
        {"email": "l…@example.com", "status": "suspended"},
    )
    moved = only(ledger, "customer.moved")
    assert (moved.before, moved.after) == ({"plan_id": "cent"}, {"plan_id": "other"})
    overridden = only(ledger, "customer.overridden")
    assert (overridden.before, overridden.after) == ({"spend_cap": None}, {"spend_cap": 700})
    assert only(ledger, "key.issued").subject == key[:11]
    assert key not in json.dumps(terminal.json("audit", "show"))


def test_a_plan_change_is_told_with_the_old_value_and_the_new(ledger: Ledger) -> None:
    ledger.plan('[plans.pro]\ncurrency = "usd"\nspend_cap = "5.00"\n')
    ledger.plan('[plans.pro]\ncurrency = "usd"\nspend_cap = "9.00"\n')
    ledger.plan('[plans.pro]\ncurrency = "usd"\nspend_cap = "9.00"\n')
    entry = only(ledger, "plan.updated")
    assert (entry.subject, entry.before) == ("pro", {"spend_cap": "$5.00"})
    assert entry.after == {"version": 1, "immediate": False, "spend_cap": "$9.00"}


def test_an_invoice_is_told_from_its_draft_to_its_payment_and_who_moved_it(
    ledger: Ledger, standin: StripeStandIn
) -> None:
    ledger.plan(CENT)
    ledger.customer(stripe="cus_ada")
    ledger.use(tokens_in=100)
    with acting_as("worker"), standin.serve() as server:
        ledger.close()
        report_owed(ledger.database, StripePayments(standin.api_key, api_base=server.url), now=NOW)
    about = standin.invoice(customer="cus_ada", period_start=NOVEMBER, period_end=DECEMBER, amount=100, status="paid")
    event = standin.event("invoice.paid", about)
    body = json.dumps(event).encode()
    for _ in range(2):
        receive_stripe(ledger.database, body, sign_stripe(body, "whsec_test", NOW), "whsec_test", now=NOW)

    [invoice] = ledger.invoices()
    who = f"stripe {event['id']}"
    assert told(ledger, user_id="ada")[1:] == [
        ("worker", "invoice.drafted"),
        ("worker", "report.acknowledged"),
        ("worker", "invoice.finalized"),
        (who, "invoice.paid"),
    ]
    assert told(ledger, kind="webhook") == [(who, "webhook.applied")]
    drafted, paid = only(ledger, "invoice.drafted"), only(ledger, "invoice.paid")
    assert {drafted.subject, paid.subject} == {str(invoice["id"])}
    assert drafted.after is not None
    assert (drafted.after["total_amount"], drafted.after["currency"]) == (100, "usd")
    assert (paid.before, paid.at) == ({"status": "finalized"}, NOW)


def test_a_period_that_is_parked_is_told_with_the_reason(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=100)
    ledger.run("""UPDATE usage_periods SET totals = '{"gpt-4o": {"input": 99}}'""")
    ledger.close()
    entry = only(ledger, "period.parked")
    assert entry.user_id == "ada"
    assert "99" in (entry.reason or "")


def test_what_is_refused_or_rolled_back_leaves_no_entry(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    with pytest.raises(CustomerExists):
        add_customer(ledger.database, "ada", email="other@example.com", plan_id="cent", now=NOVEMBER)
    with suppress(RuntimeError), ledger.database.transaction() as connection:
        record(connection, "customer.changed", "ada", NOVEMBER)
        raise RuntimeError
    assert told(ledger, kind="customer") == [("app", "customer.added")]


def test_a_change_by_hand_is_told_with_the_role_and_what_changed_and_the_projects_own_are_not_told_twice(
    ledger: Ledger,
) -> None:
    ledger.plan('[plans.pro]\ncurrency = "usd"\nspend_cap = "5.00"\n')
    ledger.customer(plan="pro")
    change_customer(ledger.database, "ada", NOVEMBER, status="suspended")
    before = len(trail(ledger.database))
    with psycopg.connect(ledger.database.url, application_name="psql", autocommit=True) as hand:
        role = hand.info.user
        hand.execute("UPDATE plans SET spend_cap = 900 WHERE id = 'pro'")
        hand.execute("UPDATE plans SET spend_cap = 900 WHERE id = 'pro'")  # changes nothing
        hand.execute("UPDATE customers SET email = 'love@example.com', own_spend_cap = 7 WHERE user_id = 'ada'")
        hand.execute("UPDATE customers SET next_period_end = created_at")
        schema = hand.execute("SELECT current_schema()").fetchone()
        assert schema is not None
        hand.execute("SET search_path = pg_catalog")
        hand.execute(f"UPDATE {schema[0]}.plans SET quota_tokens = 5 WHERE id = 'pro'")

    plan, customer, elsewhere = trail(ledger.database)[before:]
    assert (plan.actor, plan.kind, plan.subject) == (f"sql {role}", "plan.changed_by_hand", "pro")
    assert (plan.before, plan.after) == ({"spend_cap": 500}, {"spend_cap": 900})
    assert (customer.kind, customer.user_id) == ("customer.changed_by_hand", "ada")
    assert customer.before == {"email": "a…@example.com", "own_spend_cap": None}
    assert customer.after == {"email": "l…@example.com", "own_spend_cap": 7}
    assert elsewhere.after == {"quota_tokens": 5}


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_trail SET actor = 'nobody'", "DELETE FROM audit_trail", "TRUNCATE audit_trail"]
)
def test_nothing_that_stands_in_the_trail_can_be_changed_or_removed(ledger: Ledger, statement: str) -> None:
    ledger.plan(CENT)
    with pytest.raises(IntegrityError, match="append-only"):
        ledger.run(statement)
    assert told(ledger) == [("app", "plan.created")]


def test_the_trail_is_shown_by_customer_and_by_kind(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer("ada")
    ledger.customer("bob")
    terminal = Terminal(ledger, NOVEMBER)
    assert [entry["user_id"] for entry in terminal.json("audit", "show", "--kind", "customer")] == ["ada", "bob"]
    assert [entry["kind"] for entry in terminal.json("audit", "show", "--user", "bob")] == ["customer.added"]
    assert len(terminal.json("audit", "show", "--last", "1")) == 1
    shown = terminal("audit", "show", "--user", "ada").output
    assert "customer.added" in shown
    assert "plan_id: cent" in shown
    assert "ada@example.com" not in shown
