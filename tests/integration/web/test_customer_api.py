"""The customer's API: every answer is what openapi.json says, and says what the page says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, Ledger
from integration.web.conftest import Visit
from integration.web.described import as_described
from tollkeeper.services.onboarding import issue_key
from tollkeeper.testing import FrozenClock

FEBRUARY = JANUARY + timedelta(days=31)


def checked(client: TestClient, path: str, template: str | None = None, **headers: str) -> Any:
    """What the path answers, held against the description."""
    return as_described(client, client.get(path.removeprefix("/"), headers=headers), template or path.partition("?")[0])


@pytest.fixture
def client(visit: Visit) -> TestClient:
    return visit(identify=lambda scope: "ada")


def test_usage_is_as_described_and_says_what_is_billed(ledger: Ledger, client: TestClient) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=450_000, at=NOVEMBER + timedelta(days=3))
    found = checked(client, "/api/usage")
    # 100,000 free, 350,000 at 0.3 cents for 1,000; by noon of the 15th 14.5 of 30 days have passed.
    assert (found["usage_amount"], found["total_amount"], found["tokens"]) == (105, 105, 450_000)
    assert found["projected_tokens"] == 450_000 * 300 // 145
    assert found["percent_of_quota"] == 45
    assert [line["amount"] for line in found["lines"]] == [0, 105]
    assert len(found["days"]) == 30
    assert found["days"][3] == {"start": "2026-11-04T00:00:00Z", "requests": 1, "tokens": 450_000, "cost_units": "105"}
    assert {(one["model_id"], one["token_type"], one["quantity"]) for one in found["quantities"]} == {
        ("gpt-4o", "input", 450_000),
        ("gpt-4o", "requests", 1),
    }


def test_a_customer_without_usage_is_as_described_too(ledger: Ledger, client: TestClient) -> None:
    ledger.plan(CENT)
    ledger.customer()
    found = checked(client, "/api/usage")
    assert (found["tokens"], found["lines"], found["quota_tokens"]) == (0, [], None)


def test_a_period_that_could_not_be_billed_has_no_preview(ledger: Ledger, client: TestClient) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=3)
    ledger.run("UPDATE plan_versions SET tariff = jsonb_set(tariff, '{base_fee}', to_jsonb(9223372036854775807))")
    found = checked(client, "/api/usage")
    assert (found["lines"], found["total_amount"], found["usage_amount"]) == (None, None, 3)
    assert client.get("").status_code == 200


def test_invoices_come_page_by_page_and_each_is_as_described(
    ledger: Ledger, client: TestClient, clock: FrozenClock
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    for month, until in ((NOVEMBER, DECEMBER), (DECEMBER, JANUARY), (JANUARY, FEBRUARY)):
        ledger.use(tokens_in=month.month, at=month + timedelta(days=1))
        ledger.close(until)
    first = checked(client, "/api/invoices?limit=2")
    second = checked(client, f"/api/invoices?limit=2&after={first['next']}")
    assert [one["total_amount"] for one in first["invoices"] + second["invoices"]] == [1, 12, 11]
    assert second["next"] is None
    assert not {"alarm", "arrival_cutoff"} & set(first["invoices"][0])
    [line] = checked(client, f"/api/invoices/{first['invoices'][0]['id']}", "/api/invoices/{invoice_id}")["lines"]
    assert (line["amount"], line["arithmetic"]) == (1, "1 × $0.01 = $0.01")
    page = client.get("invoices").text
    assert all(one["id"] in page for one in first["invoices"] + second["invoices"])


def test_what_is_refused_is_as_described(ledger: Ledger, client: TestClient, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    assert checked(visit(), "/api/usage")["code"] == "customer_unknown"
    assert checked(visit(), "/api/usage", **{"X-API-Key": "tk_nobody"})["status"] == 401
    assert checked(client, "/api/invoices/seven", "/api/invoices/{invoice_id}")["code"] == "not_found"
    assert checked(client, "/api/invoices?after=x")["code"] == "invalid_input"
    away = visit({"database_url": "postgresql://nobody@127.0.0.1:1/nothing"}, identify=lambda scope: "ada")
    assert checked(away, "/api/usage")["code"] == "store_unavailable"


def test_a_key_is_good_in_either_header(ledger: Ledger, visit: Visit) -> None:
    ledger.plan(CENT)
    ledger.customer()
    key = issue_key(ledger.database, "ada", NOVEMBER)
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert checked(visit(), "/api/usage", **headers)["user_id"] == "ada"


def test_the_description_resolves_and_names_where_it_is_mounted(client: TestClient) -> None:
    described = client.get("openapi.json").json()
    assert described["servers"] == [{"url": "/billing"}]
    jsonschema.Draft202012Validator.check_schema({"components": described["components"]})
    names = set(described["components"]["schemas"])
    referred = {part.split('"')[0] for part in client.get("openapi.json").text.split("#/components/schemas/")[1:]}
    assert referred <= names
