"""The operator's desk: who may work there, what it says, and what its forms do."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, WITH_FEE, Ledger
from integration.web.conftest import Visit
from integration.web.test_customer_pages import FORM_TOKEN, text_of
from tollkeeper.services import overseeing
from tollkeeper.services.onboarding import issue_key
from tollkeeper.testing import FrozenClock

TOKEN = "0123456789abcdef-made-up"
PAGES = [
    "",
    "customers",
    "invoices",
    "parked",
    "reports",
    "webhooks",
    "notices",
    "audit",
    "health",
    "customer?user=ada",
]


# A tenth of what the plan CENT charges: 1 cent a token against 100,000 cents for a million.
def a_tenth(model: str, token_type: str, at: object) -> Decimal | None:
    return None if model == "mystery" else Decimal(100_000)


@pytest.fixture
def desk(visit: Visit) -> TestClient:
    """The desk as a program with the token sees it."""
    client = visit({"admin_token": TOKEN})
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


def said(desk: TestClient, path: str) -> str:
    answer = desk.get(f"admin/{path}")
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


def send(desk: TestClient, page: str, form: str, **fields: str) -> Any:
    """Fill in a form of a page, as a browser does."""
    token = FORM_TOKEN.findall(desk.get(f"admin/{page}").text)[0]
    return desk.post(f"admin/{form}", data={"form_token": token, **fields}, follow_redirects=False)


def trail(ledger: Ledger, kind: str) -> list[tuple[str, str | None]]:
    rows = ledger.rows("SELECT actor, reason FROM audit_trail WHERE kind = :kind ORDER BY position", kind=kind)
    return [(row["actor"], row["reason"]) for row in rows]


def test_without_a_token_set_there_is_no_desk(ledger: Ledger, visit: Visit) -> None:
    client = visit()
    for path in PAGES:
        assert client.get(f"admin/{path}").status_code == 404, path
        assert client.get(f"admin/{path}", headers={"Authorization": "Bearer "}).status_code == 404, path


def test_every_page_is_shut_without_the_token(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)
    client = visit({"admin_token": TOKEN})
    for path in PAGES:
        for headers in ({}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}):
            answer = client.get(f"admin/{path}", headers=headers)
            assert answer.status_code == 401, path
            assert "ada" not in answer.text, path


def test_every_form_is_shut_without_the_token(ledger: Ledger, visit: Visit) -> None:
    client = visit({"admin_token": TOKEN})
    token = FORM_TOKEN.findall(client.get("admin/").text)[0]
    for form in (
        f"invoices/{UUID(int=1)}/approve",
        f"invoices/{UUID(int=1)}/void",
        f"invoices/{UUID(int=1)}/redraft",
        "parked/release",
        "refresh",
    ):
        assert client.post(f"admin/{form}", data={"form_token": token}).status_code == 401


def test_the_token_signs_in_by_a_form_for_eight_hours(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    client = visit({"admin_token": TOKEN})

    def sign_in(secret: str, name: str = "Grace") -> Any:
        form = {"secret": secret, "name": name, "form_token": FORM_TOKEN.findall(client.get("admin/").text)[0]}
        return client.post("admin/sign-in", data=form, follow_redirects=False)

    assert sign_in("wrong").status_code == 401
    assert sign_in(TOKEN, "").status_code == 401
    cookie = sign_in(TOKEN).headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Grace" in client.get("admin/").text
    clock.advance(timedelta(hours=8))
    assert client.get("admin/").status_code == 401


def test_a_session_of_an_old_token_is_over(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    from tollkeeper.services.operating import begin_desk_session

    session = begin_desk_session(TOKEN, TOKEN, "Grace", clock.now())
    headers = {"Cookie": f"tollkeeper_desk={session}"}
    assert visit({"admin_token": TOKEN}).get("admin/", headers=headers).status_code == 200
    assert visit({"admin_token": TOKEN + "2"}).get("admin/", headers=headers).status_code == 401


def test_a_short_token_is_refused_at_the_start(ledger: Ledger, visit: Visit) -> None:
    from tollkeeper.domain.errors import InvalidInput

    with pytest.raises(InvalidInput):
        visit({"admin_token": "short"})


def test_the_host_can_name_the_operator(ledger: Ledger, visit: Visit) -> None:
    async def who(scope: Any) -> str | None:
        return dict(scope["headers"]).get(b"x-operator", b"").decode() or None

    client = visit({"admin_token": TOKEN}, operator=who)
    assert client.get("admin/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 401
    assert "secret" not in client.get("admin/").text
    assert "grace" in client.get("admin/", headers={"X-Operator": "grace"}).text


def test_revenue_is_split_into_base_and_metered(ledger: Ledger, desk: TestClient, clock: FrozenClock) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    ledger.use(tokens_in=1_000)  # 1,000 cents
    ledger.close(DECEMBER)
    clock.set(DECEMBER + timedelta(days=3))
    assert "Nov 2026 $99.00 $10.00 $0.00 $109.00" in said(desk, "")


def test_margins_are_what_is_charged_less_what_the_models_cost(
    ledger: Ledger, clock: FrozenClock, desk: TestClient
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.customer("bob")
    ledger.use(tokens_in=600, tokens_out=400)  # $10.00, costs a tenth
    ledger.use("bob", tokens_in=100, model="mystery")
    assert overseeing.take_stock(ledger.database, clock.now(), cost_of=a_tenth)
    page = said(desk, "")
    assert "cent gpt-4o 1,000 $10.00 $1.00 90 %" in page
    assert "cent mystery 100 $1.00 unknown –" in page
    assert "ada $0.00 $10.00 $1.00 $9.00" in page


def test_who_is_near_a_cap_stands_there_the_nearest_first(ledger: Ledger, desk: TestClient) -> None:
    ledger.plan(CENT)
    for user_id, cap, used in (("far", 1_000, 799), ("near", 1_000, 800), ("own", None, 5_000), ("over", 1_000, 1_200)):
        ledger.customer(user_id)
        ledger.run("UPDATE customers SET own_spend_cap = :cap WHERE user_id = :user", cap=cap, user=user_id)
        ledger.use(user_id, tokens_in=used)
    page = said(desk, "")
    assert "over cent 120 % $12.00 $10.00 near cent 80 % $8.00 $10.00" in page
    assert "2 near or at their cap" in page


def test_figures_are_kept_and_taken_anew_in_the_background(
    ledger: Ledger, desk: TestClient, clock: FrozenClock
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    assert "$0.00" not in said(desk, "")
    ledger.use(tokens_in=777)
    assert "$7.77" not in said(desk, "")  # the figures of before
    clock.advance(timedelta(minutes=10))
    said(desk, "")  # ten minutes old: taken anew once this answer is out
    assert "$7.77" in said(desk, "")
    ledger.use(tokens_in=1)
    assert send(desk, "", "refresh").status_code == 303
    assert "$7.78" in said(desk, "")


def test_customers_are_found_by_any_part_of_a_name_and_patterns_mean_nothing(ledger: Ledger, desk: TestClient) -> None:
    ledger.plan(CENT)
    for user_id in ("ada", "bob_1", "bobx1", "ca%t", "d/e?f&g"):
        ledger.customer(user_id, stripe=f"cus_{len(user_id)}{user_id[:4]}")
    assert re.findall(r"customer\?user=([^\"]+)", desk.get("admin/customers?q=b_1").text) == ["bob_1"]
    assert re.findall(r"customer\?user=([^\"]+)", desk.get("admin/customers?q=%25").text) == ["ca%25t"]
    assert re.findall(r"customer\?user=([^\"]+)", desk.get("admin/customers?q=cus_3ada").text) == ["ada"]
    [link] = re.findall(r"/(customer\?user=[^\"]+)", desk.get("admin/customers?q=d/e").text)
    assert "d/e?f&g" in said(desk, link)


def test_lists_go_on_where_the_page_before_ended(ledger: Ledger, desk: TestClient) -> None:
    ledger.plan(CENT)
    ledger.run(
        """
        INSERT INTO customers (user_id, plan_id, created_at)
        SELECT 'user-' || lpad(CAST(n AS text), 4, '0'), 'cent', :now FROM generate_series(1, 120) AS n
        """,
        now=NOVEMBER,
    )
    ledger.run(
        """
        INSERT INTO invoices (id, user_id, period_start, period_end, currency, total_amount, plan_id, plan_version, collect,
                              arrival_cutoff, created_at)
        SELECT gen_random_uuid(), user_id, :start, :ends, 'usd', 0, 'cent', 1, 'off', :ends, :ends FROM customers
        """,
        start=NOVEMBER,
        ends=DECEMBER,
    )
    for path in ("customers", "invoices", "invoices?status=draft"):
        seen: list[str] = []
        address: str | None = f"admin/{path}"
        pages = 0
        while address:
            page = desk.get(address).text
            seen += re.findall(r"customer\?user=(user-\d+)", page)
            found = re.findall(r'href="/billing/([^"]+)">More', page)
            address = found[0].replace("&amp;", "&") if found else None
            pages += 1
        assert (len(seen), len(set(seen)), pages) == (120, 120, 3), path


def alarmed_draft(ledger: Ledger, collect: str = "meters") -> str:
    """A draft that waits for a person, since something on it has no price."""
    ledger.plan(
        CENT.replace('model = "*"', 'model = "gpt-4o"').replace(
            'name = "Cent"', f'name = "Cent"\ncollect = "{collect}"'
        )
    )
    ledger.customer()
    ledger.use(tokens_in=10)
    ledger.use(tokens_in=7, model="mystery")
    ledger.close(DECEMBER)
    return str(ledger.invoices()[0]["id"])


def test_a_draft_is_approved_in_the_operators_name_with_a_reason(ledger: Ledger, desk: TestClient) -> None:
    invoice = alarmed_draft(ledger)
    assert "no price for mystery input (7)" in said(desk, f"invoices/{invoice}")
    assert "no price" in said(desk, "invoices?status=alarm")
    answer = send(desk, f"invoices/{invoice}", f"invoices/{invoice}/approve", reason="a present")
    assert (answer.status_code, answer.headers["location"]) == (303, "/billing/admin/invoices?done=approved")
    [row] = ledger.invoices()
    assert (row["status"], row["alarm"]) == ("draft", None)  # Stripe's acknowledgement makes it final
    assert trail(ledger, "invoice.approved") == [("desk", "a present")]
    again = send(desk, f"invoices/{invoice}", f"invoices/{invoice}/approve", reason="a present")
    assert again.status_code == 400
    assert "this one goes on by itself" in again.text


def test_a_draft_that_nobody_collects_is_final_once_it_is_approved(ledger: Ledger, desk: TestClient) -> None:
    invoice = alarmed_draft(ledger, "off")
    assert send(desk, f"invoices/{invoice}", f"invoices/{invoice}/approve", reason="fine").status_code == 303
    assert ledger.invoices()[0]["status"] == "finalized"
    assert trail(ledger, "invoice.finalized") == [("desk desk", "fine")]
    [notice] = ledger.rows("SELECT user_id FROM notices WHERE kind = 'invoice.finalized'")
    assert notice["user_id"] == "ada"


def test_a_draft_is_voided_and_drafted_anew(ledger: Ledger, desk: TestClient) -> None:
    invoice = alarmed_draft(ledger)
    assert send(desk, f"invoices/{invoice}", f"invoices/{invoice}/redraft", reason="again").status_code == 303
    old, new = ledger.invoices()
    assert (old["status"], new["status"], new["revision"]) == ("void", "draft", 2)
    assert "again" in said(desk, f"invoices/{invoice}")
    assert send(desk, f"invoices/{new['id']}", f"invoices/{new['id']}/void", reason="gift").status_code == 303
    assert ledger.invoices()[1]["status"] == "void"
    assert trail(ledger, "invoice.void") == [("desk", "again"), ("desk", "gift")]
    assert "gift" in said(desk, "audit?kind=invoice.void")


def test_a_form_without_a_reason_or_of_another_site_changes_nothing(ledger: Ledger, desk: TestClient) -> None:
    invoice = alarmed_draft(ledger)
    assert send(desk, f"invoices/{invoice}", f"invoices/{invoice}/void").status_code == 400
    assert desk.post(f"admin/invoices/{invoice}/void", data={"reason": "x"}).status_code == 403
    token = FORM_TOKEN.findall(desk.get("admin/").text)[0]
    forged = desk.post(
        f"admin/invoices/{invoice}/void",
        data={"reason": "x", "form_token": token},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert forged.status_code == 403
    assert ledger.invoices()[0]["status"] == "draft"


def test_a_parked_period_says_why_and_is_released(ledger: Ledger, desk: TestClient) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=3)
    ledger.run("UPDATE usage_periods SET totals = '{}'")
    ledger.close(DECEMBER)
    assert "3 in the events, 0 in the running totals" in said(desk, "parked")
    period = {"user_id": "ada", "period_start": NOVEMBER.isoformat()}
    assert send(desk, "parked", "parked/release", reason="mended", **period).status_code == 303
    assert ledger.period()["status"] == "open"
    assert "Nothing is parked." in said(desk, "parked")
    assert trail(ledger, "period.released") == [("desk", "mended")]
    assert "parked periods 0" in said(desk, "parked")
    assert send(desk, "", "parked/release", reason="x", user_id="ada", period_start="x").status_code == 400
    assert send(desk, "", "parked/release", reason="x", **{**period, "user_id": "a\0"}).status_code == 400
    assert send(desk, "", "parked/release", reason="x", **period).status_code == 404


def test_reports_webhooks_and_notices_show_their_history(ledger: Ledger, desk: TestClient) -> None:
    ledger.plan(CENT)
    ledger.customer(stripe="cus_1")
    ledger.use(tokens_in=3)
    ledger.close(DECEMBER)
    ledger.run(
        """
        INSERT INTO webhook_events (provider, event_id, type, payload, received_at, state, last_error)
        VALUES ('stripe', 'evt_1', 'invoice.paid', '{}', :now, 'failed', 'no such invoice')
        """,
        now=DECEMBER,
    )
    ledger.run(
        """
        INSERT INTO notices (kind, user_id, subject, payload, created_at) VALUES ('quota.near', 'ada', 's', '{}', :now)
        """,
        now=DECEMBER,
    )
    ledger.run(
        """
        INSERT INTO notice_deliveries (notice_id, channel, target, state, attempts, next_attempt_at, last_error)
        SELECT id, 'mail', 'customer', 'parked', 3, :now, 'no such mailbox' FROM notices
        """,
        now=DECEMBER,
    )
    assert "gpt-4o, input pending 3 0" in said(desk, "reports?state=pending&q=ada")
    assert "Nothing." in said(desk, "reports?q=bob")
    assert "evt_1 stripe invoice.paid no such invoice failed" in said(desk, "webhooks?state=failed")
    assert "Nothing." in said(desk, "webhooks?state=applied")
    assert "quota.near ada mail: customer parked no such mailbox" in said(desk, "notices?q=ada")


def test_health_answers_without_counting_events(ledger: Ledger, desk: TestClient) -> None:
    page = said(desk, "health")
    assert "migrations ok" in page
    assert TOKEN not in page
    assert "totals" not in page


WRONG = """
invoices?status=x invoices?after=x invoices?after=W10 customers?after=WzFd audit?after=Wy0xXQ webhooks?after=WyJ4IiwiYSIsImIiXQ
customers?q=%00 reports?state=%27 notices?after=WyIyMDI2LTExLTAxVDAwOjAwOjAwWiIsIngiXQ
"""


def test_addresses_that_are_wrong_get_400(ledger: Ledger, desk: TestClient) -> None:
    for path in WRONG.split():
        assert desk.get(f"admin/{path}").status_code == 400, path


def test_what_is_not_there_gets_404(ledger: Ledger, desk: TestClient) -> None:
    for path in ("customer?user=nobody", f"invoices/{UUID(int=1)}", "invoices/seven", "nowhere"):
        assert desk.get(f"admin/{path}").status_code == 404
