"""The state of one metered request: passes its answer on, reads its usage, and keeps the end back until that is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from tollkeeper.clock import Clock
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.event import UsageEvent, UsageState
from tollkeeper.domain.usage import Usage
from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.estimate import estimate
from tollkeeper.extraction.headers import HeaderUsage, read_usage_headers, strip_usage_headers
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.middleware.usage_record import Scope, UsageRecord
from tollkeeper.services.metering import Admission, Metering

log = logging.getLogger(__name__)

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Settling = asyncio.Task[asyncio.Task[None] | None]

UNKNOWN_MODEL = "unknown"
TEXT_BYTES = 255


class Tap:
    """Wraps `send`. Chunks go on at once; the last one waits until the event is committed.

    In a stream the chunk with the API's terminal frame waits too, because clients take that for the end and hang up before
    the empty last message comes. What waits goes on as soon as it turns out not to have been the end.
    """

    def __init__(
        self,
        send: Send,
        *,
        scope: Scope,
        metering: Metering,
        admission: Admission,
        facts: RequestFacts,
        record: UsageRecord,
        clock: Clock,
        keep: set[Settling],
    ) -> None:
        self._send = send
        self._scope = scope
        self._metering = metering
        self._admission = admission
        self._facts = facts
        self._record = record
        self._clock = clock
        self._keep = keep
        self._began = clock.monotonic()
        self._status: int | None = None
        self._from_headers: HeaderUsage | None = None
        self._reader: AnswerReader | None = None
        self._expected: int | None = None
        self._waiting: Message | None = None
        self._settling: Settling | None = None

    async def send(self, message: Message) -> None:
        """What the app below calls instead of the server's own `send`."""
        kind = message["type"]
        if kind == "http.response.start":
            await self._send(self._start(message))
        elif kind == "http.response.body":
            await self._body(message)
        elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
            # The server sends a file by itself: there is no body to read, and this is the end of it.
            if not message.get("more_body", False):
                await self.settle(complete=True)
            await self._send(message)
        else:
            await self._send(message)

    async def finish(self, *, raised: bool) -> None:
        """Settle what has not been settled when the app has returned or raised: the client left, or there is no answer."""
        rest = await self.settle(complete=False, raised=raised)
        if rest is not None:
            await asyncio.shield(rest)

    async def settle(self, *, complete: bool, raised: bool = False) -> asyncio.Task[None] | None:
        """Store this request's one event. Once; it goes on even where the request's own task is being cancelled."""
        if self._settling is None:
            self._record.closed = True
            event = self._event(complete=complete, raised=raised)
            self._settling = asyncio.create_task(self._metering.settle(self._admission, event))
            self._keep.add(self._settling)
            self._settling.add_done_callback(self._keep.discard)
        return await asyncio.shield(self._settling)

    def _start(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        self._status = message["status"]
        self._from_headers = read_usage_headers(headers)
        fields = {bytes(name).lower(): bytes(value) for name, value in headers}
        length = fields.get(b"content-length", b"")
        self._expected = int(length) if length.isdigit() else None
        self._reader = AnswerReader(
            method=self._scope["method"],
            path=self._scope["path"],
            status=message["status"],
            content_type=fields.get(b"content-type"),
            content_encoding=fields.get(b"content-encoding"),
            headers=headers,
            request=self._facts,
        )
        return {**message, "headers": strip_usage_headers(headers)}

    async def _body(self, message: Message) -> None:
        chunk = message.get("body", b"")
        ended = self._read(chunk)
        if self._waiting is not None:
            before, self._waiting = self._waiting, message
            if message.get("more_body", False):
                await self._send(before)
                return
            await self.settle(complete=True)
            await self._send(before)
            await self._send(message)
        elif not message.get("more_body", False):
            await self.settle(complete=True)
            await self._send(message)
        elif ended:
            self._waiting = message
        else:
            await self._send(message)

    def _read(self, chunk: bytes) -> bool:
        """Read usage out of a chunk; whether the client may take what it has with it for the whole answer."""
        assert self._reader is not None, "an ASGI app starts its answer before the body"
        ended = self._reader.feed(chunk)
        if self._expected is not None:
            self._expected -= len(chunk)
            ended = ended or self._expected <= 0
        return ended

    def _event(self, *, complete: bool, raised: bool) -> UsageEvent:
        usage, state, estimated, billable = self._usage(complete=complete, raised=raised)
        return UsageEvent(
            id=self._admission.id,
            user_id=self._admission.account.user_id,
            timestamp=self._admission.at,
            usage=usage,
            status_code=500 if raised and self._status is None else self._status,
            method=_text(self._scope["method"]),
            path=_text(self._scope["path"]),
            request_id=_request_id(self._scope),
            latency_ms=int((self._clock.monotonic() - self._began) * 1000),
            estimated=estimated,
            complete=complete,
            state=state,
            billable=billable,
        )

    def _usage(self, *, complete: bool, raised: bool) -> tuple[Usage, UsageState, bool, bool]:
        """The usage, how well it is known, whether it is an estimate, and whether it is charged. First match wins."""
        reading = self._reader.finish() if self._reader is not None else Reading("not_reported")
        failed = self._status is None or self._status >= 400
        if self._record.usage is not None:
            return self._record.usage, "reported", False, not (raised and self._status is None)
        if self._from_headers is not None:
            usage = _from_headers(self._from_headers, reading.model_id or self._facts.model_id)
            return usage, "unreadable" if self._from_headers.invalid else "reported", False, not raised
        model = reading.model_id or self._facts.model_id or UNKNOWN_MODEL
        if reading.state == "not_reported" and reading.dialect is not None and not failed and reading.billable:
            guess = estimate(self._facts, reading)
            return _from_reading(guess, model), "not_reported", True, True
        if reading.state == "not_reported":
            named = model if reading.dialect is not None else UNKNOWN_MODEL
            return Usage(model_id=named), "not_reported", False, not failed and reading.billable
        return _from_reading(reading, model), reading.state, False, reading.billable


def _from_reading(reading: Reading, model: str) -> Usage:
    try:
        return Usage(
            model_id=model,
            tokens_in=reading.tokens_in,
            tokens_out=reading.tokens_out,
            cached_tokens_in=reading.cached_tokens_in,
            cache_write_tokens_in=reading.cache_write_tokens_in,
            reasoning_tokens_out=reading.reasoning_tokens_out,
            units={name: Decimal(quantity) for name, quantity in reading.units.items()},
        )
    except InvalidInput as error:
        log.warning("an answer's usage cannot be stored: %s", error)
        return Usage(model_id=UNKNOWN_MODEL)


def _from_headers(stated: HeaderUsage, model: str | None) -> Usage:
    return Usage(
        model_id=stated.model_id or model or UNKNOWN_MODEL,
        tokens_in=stated.tokens_in,
        tokens_out=stated.tokens_out,
        compute_minutes=stated.compute_minutes,
    )


def _request_id(scope: Scope) -> str | None:
    value = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    return None if value is None else _text(value.decode("latin-1"))


def _text(value: str) -> str:
    """Text from outside as the database takes it: no NUL, no lone surrogate, at most 255 bytes."""
    return value.replace("\0", "").encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")
