"""One POST to somebody else's address: to the address that was checked, in bounded time, reading a bounded answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.notify.addresses import Address, Resolve, allowed_addresses, check_url, look_up

MAX_ANSWER = 4096
"""So much of an answer is read; nobody needs more of it than its first words."""
_MOST_ADDRESSES = 3


class NoAnswer(TollkeeperError):
    """The other side was not reached, or did not answer in time. It may have taken the message all the same."""

    transient = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said."""

    status: int
    text: str
    retry_after: float | None = None
    """Seconds that it asks us to wait."""


class Poster:
    """Makes one POST at a time. With `allow_loopback` this machine's own addresses may be called, without encryption too."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        timeout_seconds: float = 10,
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allow_loopback = allow_loopback
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve
        self._tls = tls

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status; redirects are answers like any other.

        Raises `InvalidInput` for a URL that may not be called, `AddressForbidden`, and `NoAnswer`.
        """
        parts = check_url(url, "url", allow_loopback=self.allow_loopback)
        host, encrypted = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
        end = time.monotonic() + self._timeout_seconds
        addresses = allowed_addresses(
            host, port, self._resolve, encrypted=encrypted, allow_loopback=self.allow_loopback
        )
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        try:
            line = _Line(_dial(addresses, port, end), host, port, self._context() if encrypted else None, end)
            with closing(line):
                return line.post(target, body, {"User-Agent": "tollkeeper", **headers})
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The cause is cut off: it can quote the other side, or the URL.
            raise NoAnswer(_said(error, late=time.monotonic() >= end)) from None

    def _context(self) -> ssl.SSLContext:
        return self._tls if self._tls is not None else ssl.create_default_context()


class _Line:
    """A connection to an address that was looked up before, hung up when its time is over, however busy it is then."""

    def __init__(
        self, connected: socket.socket, host: str, port: int, context: ssl.SSLContext | None, end: float
    ) -> None:
        self._closing = threading.Lock()
        self._connection = http.client.HTTPConnection(host, port)
        self._connection.auto_open = 0  # it has its socket; another one would be another address
        self._connection.sock = connected
        self._timer = threading.Timer(max(0.0, end - time.monotonic()), self._hang_up)
        self._timer.daemon = True
        self._timer.start()
        if context is not None:
            self._connection.default_port = 443
            self._encrypt(context, host)

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One call, and as much of the answer as is of use."""
        self._connection.request("POST", target, body, dict(headers))
        with self._connection.getresponse() as response:
            return Answer(response.status, _beginning(response), _seconds(response.headers.get("Retry-After")))

    def close(self) -> None:
        """Hang up; the timer cannot meanwhile hit what has the same number after us."""
        self._timer.cancel()
        with self._closing:
            self._connection.close()

    def _encrypt(self, context: ssl.SSLContext, host: str) -> None:
        try:
            encrypted = context.wrap_socket(self._connection.sock, server_hostname=host, do_handshake_on_connect=False)
            self._connection.sock = encrypted
            encrypted.do_handshake()
        except BaseException:
            self.close()
            raise

    def _hang_up(self) -> None:
        with self._closing, suppress(OSError):
            if sock := self._connection.sock:
                # Not the TLS socket's own method, which would pull its state from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _dial(addresses: Sequence[Address], port: int, end: float) -> socket.socket:
    """A connection to the first address that takes one."""
    trouble: OSError = TimeoutError()
    for address in addresses[:_MOST_ADDRESSES]:
        left = end - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), timeout=left)
        except OSError as error:
            trouble = error
    raise trouble


def _beginning(response: http.client.HTTPResponse) -> str:
    """The first words of an answer, as far as they come in time: the status has said what matters."""
    try:
        return response.read(MAX_ANSWER).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""


def _seconds(retry_after: str | None) -> float | None:
    """Only the form in seconds; a date says nothing by our clock."""
    text = (retry_after or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _said(error: Exception, *, late: bool) -> str:
    if late or isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate cannot be verified"
    if isinstance(error, ssl.SSLError):
        return "no encrypted connection"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    return "no answer that is one" if isinstance(error, http.client.HTTPException) else "it cannot be reached"
