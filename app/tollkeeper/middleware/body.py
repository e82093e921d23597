"""The request's body, read ahead of the route where it says how much the request can cost."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

READ_AHEAD_BYTES = 2 * 1024 * 1024
"""A longer body is left to the route: its length is known from the header or bounded by what was read."""


class ReadAhead:
    """Reads a JSON body before the route does, and then hands the very same messages on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []

    async def read(self) -> bytes:
        """The body, or as much of it as was read when the bound was reached or the client left."""
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= READ_AHEAD_BYTES:
            message = await self._receive()
            self._messages.append(message)
            part = bytes(message.get("body", b""))
            parts.append(part)
            size += len(part)
            more = message["type"] == "http.request" and message.get("more_body", False)
        return b"".join(parts)

    async def receive(self) -> Message:
        """What the route receives: what was read ahead, then whatever comes."""
        if self._messages:
            return self._messages.pop(0)
        return await self._receive()


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)


def worth_reading(scope: Scope) -> bool:
    """Whether the body is JSON of a size that is read ahead."""
    if scope["method"] not in ("POST", "PUT", "PATCH"):
        return False
    kind = (header(scope, b"content-type") or b"").lower()
    return b"json" in kind and content_length(scope) <= READ_AHEAD_BYTES


def content_length(scope: Scope) -> int:
    """The length that the header states, 0 where it states none."""
    value = header(scope, b"content-length") or b""
    return int(value) if value.isdigit() and len(value) < 19 else 0
