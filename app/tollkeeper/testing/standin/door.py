"""The way every call takes: is it to go wrong, who asks, what for, do it, answer. What it is about, a subclass says."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tollkeeper.testing.standin.calls import CallRecord
from tollkeeper.testing.standin.faults import ON_THE_WAY, WHILE_APPLYING, Fault, FaultKind, Faults
from tollkeeper.testing.standin.server import DROP


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Door(ABC):
    """The ASGI app behind every path of an API."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.calls: list[CallRecord] = []
        self.pause: Callable[[float], Awaitable[None]] = asyncio.sleep
        """How a call that hangs lets its seconds pass."""

    @abstractmethod
    def record(self, request: Request) -> CallRecord:
        """What to note of a call before anything is made of it."""

    @abstractmethod
    async def answer(self, request: Request, record: CallRecord) -> Answer:
        """What the API answers, refusals too; it applies what is to be applied through `apply`."""

    @abstractmethod
    def trouble(self, status: int) -> Answer:
        """How the API says 429, or a 5xx that was asked for."""

    def headers(self, answer: Answer, record: CallRecord) -> dict[str, str]:
        """The headers that an answer leaves with."""
        return answer.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        record = self.record(request)
        self.calls.append(record)
        fault = self.faults.take(ON_THE_WAY, record.method, record.path)
        record.fault = fault.kind.value if fault else None
        answer = await self._through(fault, request, record)
        if answer is None:
            record.replied = False
            return await _drop(scope, receive)
        record.status = answer.status
        response = Response(answer.body, answer.status, self.headers(answer, record), "application/json")
        return await response(scope, receive, send)

    async def apply(self, record: CallRecord, deed: Callable[[], Answer]) -> Answer:
        """Do it, with whatever is to go wrong while it is applied."""
        fault = self.faults.take(WHILE_APPLYING, record.method, record.path)
        if fault is None:
            return deed()
        record.fault = fault.kind.value
        if fault.kind is FaultKind.HANG_BEFORE:
            await self.pause(fault.seconds)
            return deed()
        if fault.kind is FaultKind.ERROR_AFTER:
            deed()
        return self.trouble(fault.status)

    async def _through(self, fault: Fault | None, request: Request, record: CallRecord) -> Answer | None:
        """The answer as it leaves the account, or None if the connection is to be dropped."""
        kind = fault.kind if fault else None
        if kind is FaultKind.DROP_BEFORE:
            return None
        if fault and kind is FaultKind.RATE_LIMIT:
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return Answer(429, self.trouble(429).body, wait)
        answer = await self.answer(request, record)
        if fault and kind is FaultKind.HANG_AFTER:
            await self.pause(fault.seconds)
        if kind is FaultKind.DROP_AFTER:
            record.status = answer.status
            return None
        return answer


async def _drop(scope: Scope, receive: Receive) -> None:
    """Closes the connection without a byte; where the server offers no way to, the caller gets the exception."""
    drop = scope.get("extensions", {}).get(DROP)
    if drop is None:
        raise ConnectionResetError("the stand-in drops this connection, as it was told to")
    drop["now"]()
    while (await receive())["type"] != "http.disconnect":
        pass
