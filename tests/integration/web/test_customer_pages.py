"""The customer's pages: who may look, at what, and that every figure is the invoice's own."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from uuid import UUID

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, TIERED, WITH_FEE, Ledger
from integration.web.conftest import Visit
from tollkeeper.domain.currency import display
from tollkeeper.services.identifying import begin_session
from tollkeeper.services.onboarding import issue_key, revoke
from tollkeeper.services.previewing import preview
from tollkeeper.testing import FrozenClock

FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


def as_user(scope: object) -> str:
    return "ada"


def text_of(page: str) -> str:
    """What a reader sees, without tags and with single blanks."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def two_tenants(ledger: Ledger) -> tuple[str, str]:
    """Two customers with usage and an invoice each; their keys."""
    ledger.plan(CENT)
    keys = []
    for user_id, tokens in (("ada", 111), ("bob", 222)):
        ledger.customer(user_id)
        ledger.use(user_id, tokens_in=tokens, model=f"model-of-{user_id}")
        keys.append(issue_key(ledger.database, user_id, NOVEMBER))
    ledger.close(DECEMBER)
    ledger.use("ada", tokens_in=5, at=DECEMBER + timedelta(days=1), model="model-of-ada")
    ledger.use("bob", tokens_in=7, at=DECEMBER + timedelta(days=1), model="model-of-bob")
    return keys[0], keys[1]


def test_the_pages_figures_are_what_the_close_then_bills(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=700_000, tokens_out=100_001, at=NOVEMBER + timedelta(days=3))
    ledger.use(tokens_in=333_333, model="gpt-4o-mini", at=NOVEMBER + timedelta(days=5))
    page = visit(identify=as_user).get("")
    assert page.status_code == 200
    said = text_of(page.text)
    # 1,133,334 tokens: 100,000 free, 900,000 at 0.3 cents for 1,000, 133,334 at 0.2 cents for 1,000 = 26.6668.
    found = preview(ledger.database, "ada", at=clock.now())
    assert (found.usage_amount, found.total_amount) == (297, 297)
    assert "1.13M of 1M" in said
    assert "113 % of the allowance used" in said
    assert "1,133,334 tokens" in said
    assert "Usage charges $2.97" in said
    assert f"by 30 Nov {display(found.projected_usage_amount, 'usd')}" in said
    for line in found.lines:
        assert f"{line.description} {display(line.amount, 'usd')}" in said
    ledger.close(DECEMBER)
    assert ledger.invoices()[0]["total_amount"] == 297


def test_bars_stand_on_the_days_of_the_events_and_a_day_leads_to_its_events(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=40, at=NOVEMBER + timedelta(days=2, hours=23, minutes=59))
    ledger.use(tokens_in=2, at=NOVEMBER + timedelta(days=3))
    client = visit(identify=as_user)
    page = client.get("").text
    assert page.count('class="bar ') == 4  # two days with something, in tokens and in money
    assert "<title>3 Nov: 40</title>" in page
    assert "<title>4 Nov: $0.02</title>" in page
    [link] = re.findall(r'href="(/billing/events.csv[^"]*2026-11-03T[^"]*to=2026-11-04[^"]*)"', page)
    rows = list(csv.DictReader(io.StringIO(client.get(unescape(link).removeprefix("/billing/")).text)))
    assert [row["tokens_in"] for row in rows] == ["40"]


def test_a_customer_without_usage_sees_a_page_too(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    said = text_of(visit(identify=as_user).get("").text)
    assert "Nothing was used yet." in said
    assert "Total $99.00" in said
    assert "No invoices yet." in said


def test_an_invoice_page_explains_its_lines_and_its_csv_lists_the_very_events(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    mine = ledger.use(tokens_in=450_000)
    ledger.close(DECEMBER)
    late = ledger.use(tokens_in=5, stored=DECEMBER + timedelta(days=1))  # of November, but on no invoice yet
    invoice = ledger.invoices()[0]["id"]
    client = visit(identify=as_user)
    said = text_of(client.get(f"invoices/{invoice}").text)
    assert "350,000 × $0.003 / 1,000 = $1.05" in said
    assert "Total $1.05" in said
    rows = list(csv.DictReader(io.StringIO(client.get(f"invoices/{invoice}/events.csv").text)))
    assert [row["id"] for row in rows] == [str(mine.id)]
    assert str(late.id) not in str(rows)


def test_events_that_are_archived_are_no_empty_file(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    clock.set(DECEMBER + timedelta(days=2))
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=3)
    ledger.close(DECEMBER)
    ledger.run(
        "INSERT INTO archived_months VALUES (:month, 'f.csv.gz', 1, 1, repeat('0', 64), :at)",
        month=NOVEMBER,
        at=DECEMBER,
    )
    client = visit(identify=as_user)
    for path in (
        f"invoices/{ledger.invoices()[0]['id']}/events.csv",
        "events.csv?from=2026-10-15T00:00Z&to=2026-11-02T00:00Z",
    ):
        answer = client.get(path)
        assert answer.status_code == 410, path
        assert "archived" in answer.text
    assert client.get("events.csv").status_code == 200


def test_a_csv_has_every_event_once_across_its_pages_of_rows(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    same_moment = NOVEMBER + timedelta(days=1)
    ledger.run(
        """
        INSERT INTO usage_events (id, user_id, "timestamp", model_id, tokens_in, cost_units, recorded_at)
        SELECT gen_random_uuid(), 'ada', :at, 'gpt-4o', n, 0, :at FROM generate_series(1, 2500) AS n
        """,
        at=same_moment,
    )
    rows = list(csv.DictReader(io.StringIO(visit(identify=as_user).get("events.csv").text)))
    assert sorted(int(row["tokens_in"]) for row in rows) == list(range(1, 2501))


def test_no_cell_of_a_csv_is_a_formula(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    models = ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\u202e=1"]
    for hours, model in enumerate(models):
        ledger.use(tokens_in=1, model=model, at=NOVEMBER + timedelta(hours=hours))
    rows = csv.DictReader(io.StringIO(visit(identify=as_user).get("events.csv").text))
    assert [row["model_id"] for row in rows] == [*(f"'{model}" for model in models[:4]), models[4]]


def test_names_from_outside_are_text_on_the_page(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1, model="<script>alert(1)</script>")
    page = visit(identify=as_user).get("").text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_two_tenants_see_nothing_of_each_other(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    clock.set(DECEMBER + timedelta(days=2))
    ada, bob = two_tenants(ledger)
    client = visit()
    invoices = {user: ledger.invoices(user)[0]["id"] for user in ("ada", "bob")}
    paths = ["", "invoices", "events.csv", "api/usage", "api/invoices", f"invoices/{invoices['ada']}",
             f"invoices/{invoices['ada']}/events.csv", f"api/invoices/{invoices['ada']}"]  # fmt: skip
    for path in paths:
        answer = client.get(path, headers={"X-API-Key": ada})
        assert answer.status_code == 200, path
        assert "ada" in answer.text
        assert "bob" not in answer.text, path
        assert str(invoices["bob"]) not in answer.text
    for path in (
        f"invoices/{invoices['ada']}",
        f"invoices/{invoices['ada']}/events.csv",
        f"api/invoices/{invoices['ada']}",
    ):
        answer = client.get(path, headers={"X-API-Key": bob})
        assert answer.status_code == 404, path
        assert "model-of" not in answer.text
    span = "events.csv?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z"
    assert "ada" not in client.get(span, headers={"X-API-Key": bob}).text


def test_the_key_signs_in_by_a_form_and_its_cookie_is_no_key(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)
    client = visit()
    asked = client.get("")
    assert asked.status_code == 401
    form = {"secret": key, "form_token": FORM_TOKEN.findall(asked.text)[0]}

    signed_in = client.post("sign-in", data=form, follow_redirects=False)

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/billing/")
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/billing" in cookie
    assert "Max-Age=3600" in cookie
    assert key not in cookie
    page = client.get("")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    client.post("sign-out", data={"form_token": FORM_TOKEN.findall(page.text)[0]})
    assert client.get("").status_code == 401


def test_a_session_ends_after_an_hour_and_with_its_key(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)
    client = visit()

    def sign_in() -> int:
        form = {"secret": key, "form_token": FORM_TOKEN.findall(client.get("").text)[0]}
        return client.post("sign-in", data=form).status_code

    assert sign_in() == 200
    clock.advance(timedelta(minutes=59, seconds=59))
    assert client.get("").status_code == 200
    clock.advance(timedelta(seconds=1))
    assert client.get("").status_code == 401
    assert sign_in() == 200
    revoke(ledger.database, key, clock.now())
    assert client.get("").status_code == 401
    assert sign_in() == 401


def test_a_forged_session_is_nobodys(ledger: Ledger, visit: Visit, clock: FrozenClock) -> None:
    ledger.plan(CENT)
    ledger.customer()
    session = begin_session(ledger.database, issue_key(ledger.database, "ada", NOVEMBER), clock.now())
    claim, signature = session.split(".")
    client = visit()
    assert client.get("", headers={"Cookie": f"tollkeeper_session={session}"}).status_code == 200
    other = "AAAA" if signature[-4:] != "AAAA" else "BBBB"
    nested = "W" * 8 + "." + signature
    for forged in (f"{claim}.{signature[:-4]}{other}", f"W10.{signature}", f"{claim}.", "x" * 5_000, "é.é", "", nested):
        headers = {b"Cookie": f"tollkeeper_session={forged}".encode()}
        assert client.get("", headers=headers).status_code == 401, forged


def test_a_form_from_elsewhere_is_refused(ledger: Ledger, visit: Visit) -> None:
    client = visit()
    token = FORM_TOKEN.findall(client.get("").text)[0]
    forms: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"secret": "tk_x"}, {}),
        ({"secret": "tk_x", "form_token": "wrong"}, {}),
        ({"secret": "tk_x", "form_token": token}, {"Sec-Fetch-Site": "cross-site"}),
    ]
    assert [client.post("sign-in", data=data, headers=headers).status_code for data, headers in forms] == [403] * 3
    client.cookies.clear()
    assert client.post("sign-in", data={"secret": "tk_x", "form_token": token}).status_code == 403
    assert client.post("sign-in", content=b"x" * 20_000).status_code == 413


def test_a_key_in_the_address_is_no_key(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)
    assert visit().get(f"?api_key={key}&key={key}").status_code == 401


def test_with_the_hosts_own_login_a_key_opens_nothing(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)

    async def nobody(scope: object) -> None:
        return None

    client = visit(identify=nobody, sign_in_url="/login")
    page = client.get("", headers={"X-API-Key": key})
    assert page.status_code == 401
    assert 'href="/login"' in page.text
    assert "secret" not in page.text


def test_every_answer_forbids_scripts_frames_and_anything_from_elsewhere(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    for client in (visit(identify=as_user), visit()):
        for path in (
            "",
            "invoices",
            "invoices/x",
            f"invoices/{UUID(int=1)}",
            "openapi.json",
            "api/usage",
            "events.csv",
        ):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"


def test_pages_have_no_script_no_inline_style_and_nothing_from_elsewhere(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=700_000)
    client = visit(identify=as_user)
    page = client.get("").text
    assert not re.search(r"<script|<style| style=| on[a-z]+=|javascript:", page)
    assert {address for address in re.findall(r'(?:href|src|action)="([^"]*)"', page) if "://" in address} == set()
    [style] = re.findall(r'<link rel="stylesheet" href="/billing/([^"]+)"', page)
    sheet = client.get(style)
    assert sheet.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "url(" not in sheet.text


WRONG = {
    "events.csv?from=yesterday": 400,
    "events.csv?from=2026-11-01T00:00:00Z&to=2026-10-01T00:00:00Z": 400,
    "events.csv?from=2026-11-01&to=2026-11-02": 400,
    "invoices?after=%00": 400,
    "invoices?after=W10": 400,
    "invoices?after=WzEsMl0": 400,
    "invoices/seven": 404,
    "api/invoices?limit=0": 400,
    "api/invoices?limit=101": 400,
    "api/invoices?limit=%C2%B2": 400,
    "nowhere": 404,
}


def test_addresses_that_are_wrong_get_an_answer_that_says_so(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    client = visit(identify=as_user)
    assert {path: client.get(path).status_code for path in WRONG} == WRONG


def test_an_unknown_customer_of_the_host_gets_404(ledger: Ledger, visit: Visit) -> None:
    assert visit(identify=as_user).get("").status_code == 404


def test_the_database_away_is_said_in_one_sentence(visit: Visit) -> None:
    client = visit({"database_url": "postgresql://nobody@127.0.0.1:1/nothing"}, identify=as_user)
    page = client.get("")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert client.get("api/usage").json()["code"] == "store_unavailable"


def test_sentences_come_from_the_hosts_catalogue_in_the_readers_language(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    strings = {
        "fr": {"Usage": "Consommation", "Days left: {days}": "Jours restants : {days}"},
        "en": {"Usage": "Your usage"},
    }
    client = visit(identify=as_user, strings=strings, brand="Acme & Söhne")
    french = client.get("", headers={"Accept-Language": "fr-CH, de;q=0.5"}).text
    assert '<html lang="fr">' in french
    assert "<h1>Consommation</h1>" in french
    assert "Jours restants : 15" in french
    assert "Acme &amp; Söhne" in french
    assert "<h1>Your usage</h1>" in client.get("", headers={"Accept-Language": "xx"}).text


def test_a_stylesheet_of_the_hosts_comes_after_ours(ledger: Ledger, visit: Visit, tmp_path: Path) -> None:
    own = tmp_path / "own.css"
    own.write_text(":root { --accent: rebeccapurple; }")
    client = visit(identify=as_user, stylesheet=own)
    [style] = re.findall(r'<link rel="stylesheet" href="/billing/([^"]+)"', client.get("").text)
    assert client.get(style).text.endswith(":root { --accent: rebeccapurple; }")
