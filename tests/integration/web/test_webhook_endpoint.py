"""The webhook endpoint as Stripe meets it: what is stored, what is refused, and with which answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tollkeeper import billing_routes
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.database import Database, all_rows
from tollkeeper.testing import FrozenClock, sign_stripe

SECRET = "whsec_made_up_for_tests"
EVENT = {"id": "evt_1", "object": "event", "type": "some.thing", "livemode": False, "data": {"object": {"object": "x"}}}


@pytest.fixture
def settings(migrated_database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return read_settings(
        database_url=migrated_database_url,
        redis_url=redis_url,
        journal_dir=tmp_path,
        stripe_webhook_secret=SECRET,
        stripe_api_key="sk_test_made_up_for_tests",
    )


@pytest.fixture
def client(settings: Settings, clock: FrozenClock) -> Iterator[TestClient]:
    with TestClient(billing_routes(settings=settings, clock=clock), raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, body: bytes, clock: FrozenClock, *, secret: str = SECRET, **headers: Any) -> int:
    signed = {"stripe-signature": sign_stripe(body, secret, clock.now()), **headers}
    return client.post("/webhooks/stripe", content=body, headers=signed).status_code


def stored(settings: Settings) -> list[str]:
    with Database(settings.need_database_url()) as database, database.transaction() as connection:
        return [row["event_id"] for row in all_rows(connection, "SELECT event_id FROM webhook_events")]


def test_a_signed_event_is_stored_once_however_often_it_comes(
    client: TestClient, clock: FrozenClock, settings: Settings
) -> None:
    body = json.dumps(EVENT).encode()

    assert [post(client, body, clock) for _ in range(3)] == [200, 200, 200]
    assert stored(settings) == ["evt_1"]


def test_an_event_of_the_other_mode_than_the_keys_is_refused(
    client: TestClient, clock: FrozenClock, settings: Settings
) -> None:
    assert post(client, json.dumps({**EVENT, "livemode": True}).encode(), clock) == 400
    assert stored(settings) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"id": 5}', b'{"id": "evt_1"}', b"null"])
def test_hostile_bodies_get_400_and_never_500(client: TestClient, clock: FrozenClock, body: bytes) -> None:
    assert post(client, body, clock) == 400


@pytest.mark.parametrize("header", ["", "t=1", "v1=abc", "t=x,v1=y", "t=99999999999999,v1=00", "é"])
def test_bad_signatures_get_400(client: TestClient, header: str) -> None:
    body = json.dumps(EVENT).encode()
    answer = client.post("/webhooks/stripe", content=body, headers={b"stripe-signature": header.encode()})
    assert answer.status_code == 400


def test_the_wrong_secret_gets_400(client: TestClient, clock: FrozenClock) -> None:
    assert post(client, json.dumps(EVENT).encode(), clock, secret="whsec_another") == 400


def test_a_body_over_a_megabyte_gets_413(client: TestClient, clock: FrozenClock) -> None:
    assert post(client, b" " * 1_000_001, clock) == 413


def test_without_a_secret_there_is_no_such_endpoint(settings: Settings) -> None:
    plain = settings.model_copy(update={"stripe_webhook_secret": None})
    with TestClient(billing_routes(settings=plain)) as client:
        assert client.post("/webhooks/stripe", content=b"{}").status_code == 404
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ok"}


def test_a_database_that_is_away_gets_503_so_that_stripe_comes_again(settings: Settings, clock: FrozenClock) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with TestClient(billing_routes(settings=away, clock=clock), raise_server_exceptions=False) as client:
        assert post(client, json.dumps(EVENT).encode(), clock) == 503
        assert client.get("/readyz").status_code == 503
