"""Those who are told: an inbox, a stand-in for Slack, and a customer's own endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from integration.closing.ledger import NOVEMBER, TIERED, Ledger
from integration.closing.shared import ledger, shared_database
from integration.mail.conftest import start_inbox
from tollkeeper.domain.notice import KINDS
from tollkeeper.services.notifying import Channel, Delivering, deliver_due, spread
from tollkeeper.storage.notices import Audience
from tollkeeper.testing import FrozenClock

__all__ = ["ledger", "shared_database", "start_inbox"]

NOON = NOVEMBER + timedelta(days=14, hours=12)


@dataclass
class Call:
    """One POST that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server that keeps what it is sent and answers as told; by default as Slack does, strict about what it takes."""

    url: str = ""
    answers: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    """The next answers: status, body, headers. After the last, 200."""
    always: tuple[int, str, dict[str, str]] = (200, "ok", {})
    calls: list[Call] = field(default_factory=list)
    is_slack: bool = False

    def answer(self, call: Call) -> tuple[int, str, dict[str, str]]:
        self.calls.append(call)
        if self.is_slack and (refusal := _slack_refuses(call)):
            return refusal
        return self.answers.pop(0) if self.answers else self.always


def _slack_refuses(call: Call) -> tuple[int, str, dict[str, str]] | None:
    if call.headers.get("content-type") != "application/json":
        return 400, "invalid_payload", {}
    try:
        text = json.loads(call.body)["text"]
    except (ValueError, KeyError, TypeError):
        return 400, "invalid_payload", {}
    if not isinstance(text, str) or not 0 < len(text) <= 40_000:
        return 400, "no_text", {}
    return None if call.path.startswith("/services/T") else (404, "no_service", {})


@pytest.fixture
def start_receiver() -> Iterator[Callable[..., Receiver]]:
    servers: list[ThreadingHTTPServer] = []

    def start(*, is_slack: bool = False) -> Receiver:
        receiver = Receiver(is_slack=is_slack)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, text, more = receiver.answer(Call(self.path, headers, body))
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        return receiver

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOON)


@pytest.fixture
def quota(ledger: Ledger) -> Ledger:
    """A customer with a quota of a million tokens."""
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    return ledger


@dataclass
class Desk:
    """Spreads and delivers as the workers do."""

    ledger: Ledger
    clock: FrozenClock
    audience: Audience = field(default_factory=lambda: Audience(KINDS, ()))

    def send(self, channel: Channel, **more: Any) -> Delivering:
        spread(self.ledger.database, self.audience, self.clock)
        return deliver_due(self.ledger.database, channel, self.clock, **more)

    def deliveries(self) -> list[tuple[str, str, str, int]]:
        """Channel, target, state and attempts, in an order that does not move."""
        rows = self.ledger.rows(
            "SELECT d.channel, d.target, d.state, d.attempts FROM notice_deliveries AS d "
            "JOIN notices AS n ON n.id = d.notice_id ORDER BY d.channel, d.target, n.subject"
        )
        return [(row["channel"], row["target"], row["state"], row["attempts"]) for row in rows]


@pytest.fixture
def desk(ledger: Ledger, clock: FrozenClock) -> Desk:
    return Desk(ledger, clock)
