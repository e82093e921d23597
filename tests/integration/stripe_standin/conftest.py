from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from integration.switch import Switch, switch
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.testing import FrozenClock, StripeStandIn

__all__ = ["switch"]


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime(2026, 11, 1, 0, 2, tzinfo=UTC))


@pytest.fixture
def behind(switch: Switch) -> Callable[[StripeStandIn], str]:
    """Puts a stand-in behind the server and answers its URL."""

    def put(standin: StripeStandIn) -> str:
        switch.app = standin.app
        return switch.url

    return put


@pytest.fixture
def standin(clock: FrozenClock) -> StripeStandIn:
    return StripeStandIn(clock)


@pytest.fixture
def url(standin: StripeStandIn, behind: Callable[[StripeStandIn], str]) -> str:
    return behind(standin)


@pytest.fixture
def client(standin: StripeStandIn, url: str) -> stripe.StripeClient:
    return sdk_client(standin.api_key, url)


@pytest.fixture
def payments(standin: StripeStandIn, url: str) -> StripePayments:
    return StripePayments(standin.api_key, api_base=url, timeout_seconds=5)


def sdk_client(api_key: str, url: str) -> stripe.StripeClient:
    """The real SDK, told where the stand-in is."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": url, "meter_events": url},
        http_client=stripe.RequestsClient(timeout=5),
        max_network_retries=0,
    )


def wait_until_met(standin: StripeStandIn) -> None:
    """Waits until a call on its way in another thread has met the fault that was set for it."""
    give_up = time.monotonic() + 5
    while not any(call["fault"] for call in standin.calls()):
        assert time.monotonic() < give_up, "no call has met the fault"
        time.sleep(0.005)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    json: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error


@pytest.fixture
def http_call(standin: StripeStandIn, url: str) -> Callable[..., Reply]:
    """A call with exactly the bytes and headers given, for what the SDK would never send."""

    def call(method: str, path: str, body: str | bytes | None = None, **headers: str | None) -> Reply:
        sent: dict[str, str | None] = {"Authorization": f"Bearer {standin.api_key}"}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        connection.request(method, path, body, {name: value for name, value in sent.items() if value is not None})
        response = connection.getresponse()
        answer = Reply(response.status, dict(response.getheaders()), json.loads(response.read()))
        connection.close()
        return answer

    return call


class Endpoint(HTTPServer):
    """Keeps what it was sent and answers what it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes, str]] = []
        self.answer = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/billing/webhooks/stripe?from=test"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), body, self.path))
        self.send_response(self.server.answer)
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the standard library's
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def refusal() -> Callable[[Callable[[], object]], stripe.InvalidRequestError]:
    """What the SDK raises for a call that has to be refused."""

    def raised(call: Callable[[], object]) -> stripe.InvalidRequestError:
        with pytest.raises(stripe.InvalidRequestError) as error:
            call()
        return error.value

    return raised
