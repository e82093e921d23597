"""Calling the stand-in without a socket: quick, one thing after the other, and the same every time.

A call that hangs has timed out for its caller at once. It goes on when `let_hung_calls_end` says so, like one that is still
under way at Stripe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
from starlette.types import Message

from tollkeeper.testing.standin.door import Door


class _Pause:
    """Lets the one who drives the call decide when it goes on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class InProcessClient(stripe.HTTPClient):
    """The SDK's side of it."""

    name = "stand-in"

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._hung: list[Coroutine[Any, Any, None]] = []
        door.pause = _pause

    def request(  # type: ignore[override] # the base class says str for a body that the other clients give as bytes
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """One call to its end; one that hangs, or is dropped, raises what the SDK raises for it."""
        sent: list[Message] = []
        call = self._call(method, url, headers or {}, post_data, sent)
        try:
            call.send(None)
        except StopIteration:
            return _answer(sent)
        except ConnectionResetError as error:
            raise _no_answer("the connection was closed") from error
        self._hung.append(call)
        raise _no_answer("timed out")

    def let_hung_calls_end(self) -> None:
        """Calls that were given up come to their end now; nobody hears of it."""
        hung, self._hung = self._hung, []
        for call in hung:
            try:
                call.send(None)
            except (StopIteration, ConnectionResetError):
                continue
            self._hung.append(call)

    def close(self) -> None:
        for call in self._hung:
            call.close()

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any, sent: list[Message]
    ) -> Coroutine[Any, Any, None]:
        parts, body = urlsplit(url), (post_data or "").encode()
        scope = {
            "type": "http",
            "method": method.upper(),
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        return self._door(scope, receive, send)


def _no_answer(reason: str) -> stripe.APIConnectionError:
    return stripe.APIConnectionError(reason)  # type: ignore[no-untyped-call] # the SDK leaves it untyped


def _pause(seconds: float) -> Awaitable[None]:
    return _Pause()


def _answer(sent: list[Message]) -> tuple[bytes, int, Mapping[str, str]]:
    start, *rest = sent
    headers = {name.decode().title(): value.decode() for name, value in start["headers"]}
    return b"".join(message.get("body", b"") for message in rest), start["status"], headers
