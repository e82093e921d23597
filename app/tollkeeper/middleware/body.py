"""The request's body, read ahead of the route where it says how much the request can cost."""

from __future__ import annotations

from starlette.types import Message, Receive

from tollkeeper.middleware.head import Head

READ_AHEAD_BYTES = 2 * 1024 * 1024
"""A longer body is left to the route: its length is known from the header or bounded by what was read."""


class ReadAhead:
    """Reads a JSON body before the route does, and then hands the very same messages on."""

    __slots__ = ("_messages", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []

    async def read(self) -> bytes:
        """The body, or as much of it as was read when the bound was reached or the client left."""
        message = await self._receive()
        self._messages.append(message)
        body = bytes(message.get("body", b""))
        if not _goes_on(message):
            return body
        parts, size, more = [body], len(body), True
        while more and size <= READ_AHEAD_BYTES:
            message = await self._receive()
            self._messages.append(message)
            part = bytes(message.get("body", b""))
            parts.append(part)
            size += len(part)
            more = _goes_on(message)
        return b"".join(parts)

    async def receive(self) -> Message:
        """What the route receives: what was read ahead, then whatever comes."""
        if self._messages:
            return self._messages.pop(0)
        return await self._receive()


def worth_reading(head: Head) -> bool:
    """Whether the body is JSON of a size that is read ahead."""
    if head.method not in ("POST", "PUT", "PATCH"):
        return False
    return b"json" in head.fields.get(b"content-type", b"").lower() and head.content_length <= READ_AHEAD_BYTES


def _goes_on(message: Message) -> bool:
    return message["type"] == "http.request" and bool(message.get("more_body", False))
