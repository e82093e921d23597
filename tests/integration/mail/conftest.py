"""Mail servers on loopback: one that speaks SMTP properly, and one that misbehaves as told."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

CERTIFICATE = Path(__file__).parent / "localhost.pem"
SENT_AT = datetime(2026, 11, 2, 12, 30, 15, tzinfo=UTC)


class StandingClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        return SENT_AT

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Inbox:
    """What a real SMTP server took, and the answers it was told to give instead, by command."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    envelopes: list[Envelope] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        contents = (bytes(envelope.original_content or b"") for envelope in self.envelopes)
        return [message_from_bytes(content, policy=default) for content in contents]

    async def handle_MAIL(self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.get("DATA", "250 OK")
        if answer.startswith("250"):
            assert server.transport is not None
            self.envelopes.append(envelope)
            self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
            self.names.append(session.host_name or "")
        return answer

    async def handle_QUIT(self, _: SMTP, __: Session, ___: Envelope) -> str:
        return self.answers.get("QUIT", "221 Bye")


@pytest.fixture
def start_inbox() -> Iterator[Callable[..., Inbox]]:
    """Start an aiosmtpd server on a free port; its options are those of `aiosmtpd.smtp.SMTP`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.Server] = []

    def start(*, over_tls: ssl.SSLContext | None = None, **options: Any) -> Inbox:
        inbox = Inbox()

        async def listen() -> asyncio.Server:
            return await loop.create_server(
                lambda: SMTP(inbox, hostname="localhost", loop=loop, **options),
                "127.0.0.1",
                ssl=over_tls,
            )

        server = asyncio.run_coroutine_threadsafe(listen(), loop).result(5)
        servers.append(server)
        inbox.port = server.sockets[0].getsockname()[1]
        return inbox

    async def stop() -> None:
        for server in servers:
            server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    yield start
    asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    """The server's side of TLS, with a certificate for localhost and 127.0.0.1 that it signed itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server's certificate one that the system's store knows."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.fixture
def only_ada() -> Callable[..., AuthResult]:
    """An authenticator that lets in `ada@example.com` with the password `p@ss:w/rd`, and nobody else."""

    def check(_: SMTP, __: Session, ___: Envelope, ____: str, data: LoginPassword) -> AuthResult:
        known = (data.login, data.password) == (b"ada@example.com", b"p@ss:w/rd")
        return AuthResult(success=known, handled=known)

    return check


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


class Line:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, test_over: threading.Event) -> None:
        self._connection = connection
        self._test_over = test_over
        self._lines = connection.makefile("rb")

    def say(self, text: str) -> None:
        self._connection.sendall(text.encode() + b"\r\n")

    def say_raw(self, data: bytes) -> None:
        self._connection.sendall(data)

    def encrypt(self, tls: ssl.SSLContext) -> None:
        self._connection = tls.wrap_socket(self._connection, server_side=True)
        self._lines = self._connection.makefile("rb")

    def hear(self) -> str:
        """The next line, without its end; empty when the other side hung up."""
        return self._lines.readline().decode().rstrip("\r\n")

    def greet_until_data(self) -> None:
        """Go through the whole conversation as a good server does, up to the go-ahead for the message."""
        self.say("220 here")
        for _ in range(4):
            self.say("354 go on" if self.hear().upper() == "DATA" else "250 OK")

    def greet_until_starttls(self) -> None:
        self.say("220 here")
        self.hear()
        self.say("250-here")
        self.say("250 STARTTLS")
        self.hear()
        self.say("220 go ahead")

    def take_message(self) -> None:
        while self._lines.readline() not in (b".\r\n", b""):
            pass

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def read_nothing_more(self) -> None:
        self._test_over.wait(10)

    def wait_for_the_end(self) -> None:
        """Say nothing more until the other side has gone."""
        with suppress(OSError):
            while self._connection.recv(65536):
                pass


@pytest.fixture
def server_that() -> Callable[[Callable[[Line], None]], AbstractContextManager[int]]:
    """A server that takes one connection and treats it as told; gives its port."""
    return _server_that


@contextmanager
def _server_that(behaves: Callable[[Line], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    # Small buffers, so that a server that stops reading is felt at once.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    test_over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(5)
            with closing(Line(connection, test_over)) as line:
                behaves(line)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        test_over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(6)
        assert not thread.is_alive()
