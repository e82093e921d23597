"""The webhook endpoint as Paystack meets it: what is stored, what is refused, and with which answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tollkeeper import billing_routes
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.database import Database, all_rows
from tollkeeper.testing import FrozenClock, sign_paystack

KEY = "sk_test_made_up_for_tests"
EVENT = {"event": "charge.success", "data": {"id": 302961, "reference": "an-order", "authorization": {}}}


@pytest.fixture
def settings(migrated_database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return read_settings(
        database_url=migrated_database_url, redis_url=redis_url, journal_dir=tmp_path, paystack_secret_key=KEY
    )


@pytest.fixture
def client(settings: Settings, clock: FrozenClock) -> Iterator[TestClient]:
    with TestClient(billing_routes(settings=settings, clock=clock), raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, body: bytes, *, key: str = KEY) -> int:
    headers = {"x-paystack-signature": sign_paystack(body, key)}
    return client.post("/webhooks/paystack", content=body, headers=headers).status_code


def stored(settings: Settings) -> list[str]:
    with Database(settings.need_database_url()) as database, database.transaction() as connection:
        return [row["event_id"] for row in all_rows(connection, "SELECT event_id FROM webhook_events")]


def test_a_signed_event_is_stored_once_however_often_it_comes(client: TestClient, settings: Settings) -> None:
    body = json.dumps(EVENT).encode()

    assert [post(client, body) for _ in range(3)] == [200, 200, 200]
    assert stored(settings) == ["charge.success:302961"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"event": 5}', b'{"event": "\\ud800"}', b'{"a":' * 20_000]
)
def test_hostile_bodies_get_400_and_never_500(client: TestClient, settings: Settings, body: bytes) -> None:
    assert post(client, body) == 400
    assert stored(settings) == []


@pytest.mark.parametrize("data", [b'{"note": "\\u0000"}', b'{"note": "\\ud800"}'])
def test_what_cannot_be_stored_gets_400(client: TestClient, data: bytes) -> None:
    assert post(client, b'{"event": "charge.success", "data": ' + data + b"}") == 400


@pytest.mark.parametrize("header", ["", "abc", "é", "0" * 128])
def test_bad_signatures_get_400(client: TestClient, header: str) -> None:
    answer = client.post(
        "/webhooks/paystack", content=json.dumps(EVENT).encode(), headers={b"x-paystack-signature": header.encode()}
    )
    assert answer.status_code == 400


def test_another_key_gets_400(client: TestClient, settings: Settings) -> None:
    assert post(client, json.dumps(EVENT).encode(), key="sk_test_another") == 400
    assert stored(settings) == []


def test_a_body_over_a_megabyte_gets_413(client: TestClient) -> None:
    assert post(client, b" " * 1_000_001) == 413


def test_without_a_key_there_is_no_such_endpoint(settings: Settings) -> None:
    plain = settings.model_copy(update={"paystack_secret_key": None})
    with TestClient(billing_routes(settings=plain)) as client:
        assert client.post("/webhooks/paystack", content=b"{}").status_code == 404


def test_a_database_that_is_away_gets_503_so_that_paystack_comes_again(settings: Settings, clock: FrozenClock) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with TestClient(billing_routes(settings=away, clock=clock), raise_server_exceptions=False) as client:
        assert post(client, json.dumps(EVENT).encode()) == 503
