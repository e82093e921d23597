"""The stand-in as a process of its own, driven over HTTP by the names it has in process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from tollkeeper.payments import verify_stripe
from tollkeeper.testing import StandInRemote, StripeStandIn
from tollkeeper.testing.stripe_standin import API_KEY

from .conftest import Endpoint, sdk_client

OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def remote(url: str) -> StandInRemote:
    return StandInRemote(url)


@pytest.fixture(scope="module")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clock") / "seconds"


@pytest.fixture(scope="module")
def process(clock_file: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tollkeeper.testing.stripe_standin", "--clock-file", str(clock_file)]
    with subprocess.Popen([*command, "--api-key", "sk_test_own_process"], stdout=subprocess.PIPE, text=True) as started:
        yield started
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=10) in (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def process_url(process: subprocess.Popen[str]) -> str:
    """The first line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_its_first_line_is_its_url_and_it_takes_the_key_it_was_given(process_url: str) -> None:
    assert process_url.startswith("http://127.0.0.1:")
    assert sdk_client("sk_test_own_process", process_url).v1.customers.create({"email": "ada@example.com"})
    with pytest.raises(stripe.AuthenticationError):
        sdk_client(API_KEY, process_url).v1.customers.list()


def test_its_clock_follows_the_file(process_url: str, clock_file: Path) -> None:
    client = sdk_client("sk_test_own_process", process_url)
    before = client.v1.customers.create({}).created

    clock_file.write_text(str(86400 * 30))

    assert client.v1.customers.create({}).created - before >= 86400 * 30


def test_it_is_driven_from_here(process_url: str) -> None:
    remote = StandInRemote(process_url)
    remote.inject("rate_limit")

    with pytest.raises(stripe.RateLimitError):
        sdk_client("sk_test_own_process", process_url).v1.customers.list()
    assert remote.calls()[-1]["status"] == 429


def test_it_can_be_put_on_a_port_of_ones_own(process_url: str) -> None:
    port = process_url.rpartition(":")[2]
    command = [sys.executable, "-m", "tollkeeper.testing.stripe_standin", "--port", port]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    # taken: so that is the port it tried
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"cannot listen on 127.0.0.1 port {port}: {os.strerror(errno.EADDRINUSE)}\n"


def test_calls_and_events_are_the_same_from_outside(
    standin: StripeStandIn, remote: StandInRemote, client: stripe.StripeClient
) -> None:
    remote.add_meter("ai_tokens")
    payload = {"stripe_customer_id": remote.add_customer("cus_known"), "value": "3"}
    client.v1.billing.meter_events.create({"event_name": "ai_tokens", "payload": payload})

    assert remote.meter_events() == standin.meter_events()
    assert remote.meter_events()[0]["customer"] == "cus_known"
    assert remote.calls() == standin.calls()


def test_decimals_in_calls_can_be_read_from_outside(remote: StandInRemote, client: stripe.StripeClient) -> None:
    client.v1.prices.create({"currency": "usd", "unit_amount_decimal": "0.2", "product_data": {"name": "x"}})  # type: ignore[typeddict-item]  # a string is what is sent

    assert remote.calls()[0]["params"]["unit_amount_decimal"] == "0.2"


def test_faults_are_set_seen_and_called_off_from_outside(remote: StandInRemote, client: stripe.StripeClient) -> None:
    remote.inject("error_before", method="POST", path="/v1/customers", times=2, status=503)
    (fault,) = remote.faults()
    assert (fault["kind"], fault["times"], fault["status"]) == ("error_before", 2, 503)

    with pytest.raises(stripe.APIError):
        client.v1.customers.create({})
    remote.clear_faults()

    assert remote.faults() == []
    client.v1.customers.create({})


def test_keys_and_identifiers_are_forgotten_from_outside(
    standin: StripeStandIn, remote: StandInRemote, client: stripe.StripeClient
) -> None:
    standin.add_meter("ai_tokens")
    payload = {"stripe_customer_id": standin.add_customer(), "value": "3"}
    client.v1.billing.meter_events.create(
        {"event_name": "ai_tokens", "payload": payload, "identifier": "i"}, {"idempotency_key": "k"}
    )

    assert remote.prune_idempotency_keys(timedelta(hours=1)) == 0
    assert remote.prune_idempotency_keys() == 1
    assert remote.forget_identifiers(timedelta(hours=1)) == 0
    assert remote.forget_identifiers() == 1


def test_without_an_age_everything_is_forgotten(client: stripe.StripeClient, http_call: Callable[..., Any]) -> None:
    client.v1.customers.create({})

    assert http_call("POST", "/_standin/idempotency_keys/prune").json == {"pruned": 1}


def test_the_handles_can_be_used_by_hand(standin: StripeStandIn, http_call: Callable[..., Any]) -> None:
    overview = http_call("GET", "/_standin", Authorization=None)
    mistake = http_call("POST", "/_standin/faults", "{")

    assert overview.status == 200
    assert overview.json == {
        "api_version": stripe.api_version,
        "now": standin.clock.now().isoformat(),
        "calls": 0,
        "meter_events": 0,
    }
    assert (mistake.status, list(mistake.json)) == (400, ["error"])


def test_invoices_are_made_and_events_delivered_from_outside(remote: StandInRemote, endpoint: Endpoint) -> None:
    invoice = remote.invoice(
        customer=remote.add_customer(), period_start=OCTOBER, period_end=NOVEMBER, amount=1250, metadata={"a": "b"}
    )

    delivery = remote.deliver(endpoint.url, "whsec_made_up", "invoice.paid", invoice, signed_at=NOVEMBER, id="evt_x")

    assert (invoice["status"], invoice["amount_paid"], invoice["metadata"]) == ("paid", 1250, {"a": "b"})
    assert (delivery.event_id, delivery.status, delivery.body) == ("evt_x", 200, "thanks")
    ((headers, body, _),) = endpoint.received
    event = verify_stripe(body, headers["Stripe-Signature"], "whsec_made_up", NOVEMBER, tolerance_seconds=0)
    assert (event["id"], event["data"]["object"]) == ("evt_x", invoice)


def test_a_mistake_is_told_and_breaks_nothing(remote: StandInRemote) -> None:
    with pytest.raises(ValueError, match="melt"):
        remote.inject("melt")
    with pytest.raises(ValueError, match="unexpected keyword"):
        remote.inject("rate_limit", path_="/v1")
    with pytest.raises(ValueError, match="no offset"):
        remote.invoice(customer="cus_1", period_start=datetime(2026, 10, 1), period_end=datetime(2026, 11, 1), amount=1)
    with pytest.raises(ValueError, match="Connection"):
        remote.deliver("http://127.0.0.1:9/", "whsec_made_up", "invoice.paid", {})
    assert remote.faults() == []


def test_a_thread_serves_it_until_the_block_ends(standin: StripeStandIn) -> None:
    with standin.serve() as server:
        assert sdk_client(standin.api_key, server.url).v1.customers.create({})
        assert any(thread.name == "standin" for thread in threading.enumerate())

    with pytest.raises(stripe.APIConnectionError):
        sdk_client(standin.api_key, server.url).v1.customers.list()


def test_it_stops_at_once_even_while_a_call_hangs(
    standin: StripeStandIn, clock_file: Path, refusal: Callable[..., object]
) -> None:
    standin.inject("hang_before", seconds=60)
    with standin.serve() as server:
        impatient = stripe.StripeClient(
            standin.api_key, base_addresses={"api": server.url}, http_client=stripe.RequestsClient(timeout=0.1)
        )
        with pytest.raises(stripe.APIConnectionError):
            impatient.v1.customers.list()
        began = datetime.now(UTC)

    assert datetime.now(UTC) - began < timedelta(seconds=3)


def test_neither_pytest_nor_uvicorn_is_needed_to_import_it() -> None:
    script = "import sys, tollkeeper.testing; print(sorted({'pytest', 'uvicorn'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)

    assert ran.stdout.strip() == "[]"
