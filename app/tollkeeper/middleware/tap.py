"""The state of one metered request: passes its answer on, reads its usage, and keeps the end back until that is stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from uuid import uuid4

from starlette.types import Message, Scope, Send

from tollkeeper.clock import Clock
from tollkeeper.domain.event import UsageEvent
from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.headers import NAMES, HeaderUsage, read_usage_headers, strip_usage_headers
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.middleware.head import Head
from tollkeeper.middleware.source import Stated, stated_usage
from tollkeeper.middleware.standing import standing_headers
from tollkeeper.middleware.usage_record import UsageRecord
from tollkeeper.services.admitting import Admission
from tollkeeper.services.metering import Metering
from tollkeeper.telemetry.watch import Watch

_NO_ANSWER = Reading("not_reported")


class Tap:
    """Wraps `send`. Chunks go on at once; the last one waits until the event is committed.

    The app below does not wait for that: it goes on as if the end had gone out, and is over sooner. The end is sent when the
    event is stored, by whoever is there then: `finish` after an app that has returned, else a task of its own.

    In a stream the chunk with the API's terminal frame is held back too, because clients take that for the end and hang up
    before the empty last message comes. It goes on as soon as it turns out not to have been the end.
    """

    __slots__ = (
        "_admission", "_began", "_clock", "_ending", "_facts", "_from_headers", "_head", "_held", "_metering", "_over", "_reader",
        "_record", "_returned", "_scope", "_send", "_settling", "_status", "_watch",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        scope: Scope,
        head: Head,
        metering: Metering,
        admission: Admission,
        facts: RequestFacts,
        record: UsageRecord,
        clock: Clock,
        began: float,
        watch: Watch | None,
    ) -> None:
        self._send = send
        self._scope = scope
        self._head = head
        self._metering = metering
        self._admission = admission
        self._facts = facts
        self._record = record
        self._clock = clock
        self._began = began
        self._watch = watch
        self._status: int | None = None
        self._from_headers: HeaderUsage | None = None
        self._reader: AnswerReader | None = None
        self._held: list[Message] = []
        """What is kept back."""
        self._over = False
        """What is kept back is the end of the answer."""
        self._returned = False
        """The app below is done."""
        self._settling: asyncio.Future[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """What the app below calls instead of the server's own `send`."""
        kind = message["type"]
        if self._over:
            await self._send_held()  # trailers, or what comes too late; the server knows which
        if kind == "http.response.body":
            await self._body(message)
        elif kind == "http.response.start":
            await self._send(self._start(message))
        elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
            # The server sends a file by itself: there is no body to read, and this is the end of it.
            if not message.get("more_body", False):
                await self.settle(complete=True)
            await self._send(message)
        else:
            await self._send(message)

    async def finish(self, *, raised: bool) -> None:
        """Settle what has not been settled when the app has returned or raised: the client left, or there is no answer."""
        self._returned = True
        await self.settle(complete=False, raised=raised)
        if self._ending is not None:
            await self._ending
        elif self._over or not raised:
            await self._send_held()
        if self._record.used:
            await self._settle_late()

    async def _settle_late(self) -> None:
        """Store what background tasks recorded after the answer had gone, as an event of its own."""
        late = self._record.take()
        if late is None:
            return
        event = replace(self._event_of(Stated(late, "reported"), complete=True, raised=False), id=uuid4())
        await self._store(event)

    async def settle(self, *, complete: bool, raised: bool = False) -> None:
        """Store this request's one event. Once; it goes on even where the request's own task is being cancelled."""
        settling = self._begin_to_settle(complete=complete, raised=raised)
        await settling

    def _begin_to_settle(self, *, complete: bool, raised: bool) -> asyncio.Future[None]:
        if self._settling is None:
            self._settling = self._store(self._event(complete=complete, raised=raised))
        return self._settling

    def _store(self, event: UsageEvent) -> asyncio.Future[None]:
        storing = self._metering.settle(self._admission, event)
        if self._watch is not None:
            storing.add_done_callback(partial(self._tell, self._watch, event, self._clock.monotonic()))
        return storing

    def _tell(self, watch: Watch, event: UsageEvent, began: float, storing: asyncio.Future[None]) -> None:
        if not storing.cancelled() and storing.exception() is None:
            watch.settled(event, self._clock.monotonic() - began)

    def _start(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        fields = {name.lower(): value for name, value in headers}
        self._status = message["status"]
        if not NAMES.isdisjoint(fields):
            self._from_headers = read_usage_headers(headers)
            headers = strip_usage_headers(headers)
        self._reader = AnswerReader(
            method=self._scope["method"],
            path=self._scope["path"],
            status=message["status"],
            content_type=fields.get(b"content-type"),
            content_encoding=fields.get(b"content-encoding"),
            headers=headers,
            request=self._facts,
        )
        return {**message, "headers": headers + standing_headers(self._admission)}

    async def _body(self, message: Message) -> None:
        if self._reader is None:
            await self._send(message)  # before the start, or after the end: the server knows what to say of it
            return
        ended = self._reader.feed(message.get("body", b""))
        if not message.get("more_body", False):
            self._held.append(message)
            self._over = True
            self._begin_to_settle(complete=True, raised=False).add_done_callback(self._stored)
            self._reader = None  # what it keeps is not needed while the end waits
        elif self._held:
            # What was held back has turned out not to be the end, and this may be.
            [before], self._held = self._held, [message]
            await self._send(before)
        elif ended:
            self._held.append(message)
        else:
            await self._send(message)

    def _stored(self, settling: asyncio.Future[None]) -> None:
        """The end of the answer may go out; the app below may have something to do after it."""
        if not self._returned and not settling.cancelled() and settling.exception() is None:
            self._ending = asyncio.create_task(self._send_held())

    async def _send_held(self) -> None:
        if self._over:
            await self.settle(complete=True)
        held, self._held = self._held, []
        for message in held:
            await self._send(message)

    def _event(self, *, complete: bool, raised: bool) -> UsageEvent:
        stated = stated_usage(
            recorded=self._record.take() if self._record.used else None,
            headers=self._from_headers,
            reading=_NO_ANSWER if self._reader is None else self._reader.finish(),
            facts=self._facts,
            status=self._status,
            raised=raised,
        )
        return self._event_of(stated, complete=complete, raised=raised)

    def _event_of(self, stated: Stated, *, complete: bool, raised: bool) -> UsageEvent:
        return UsageEvent(
            id=self._admission.id,
            user_id=self._admission.account.user_id,
            timestamp=self._admission.at,
            usage=stated.usage,
            status_code=500 if raised and self._status is None else _storable_status(self._status),
            method=self._head.method,
            path=self._head.path,
            request_id=self._head.request_id,
            latency_ms=int((self._clock.monotonic() - self._began) * 1000),
            estimated=stated.estimated,
            complete=complete,
            state=stated.state,
            billable=stated.billable,
        )


def _storable_status(status: int | None) -> int | None:
    """Some proxies answer with numbers that are no HTTP status; their usage is real all the same."""
    return status if status is not None and 100 <= status <= 599 else None
