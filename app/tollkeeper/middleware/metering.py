"""The middleware that a host app mounts. What is shared lies here; the state of one request lies in a `Tap` of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from uuid import uuid4
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tollkeeper.clock import Clock
from tollkeeper.counters.redis import Call
from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.extraction.request import RequestFacts, read_request
from tollkeeper.middleware.body import ReadAhead, worth_reading
from tollkeeper.middleware.head import Head
from tollkeeper.middleware.identify import caller_by_host, caller_by_key
from tollkeeper.middleware.refusal import send_refusal
from tollkeeper.middleware.tap import Tap
from tollkeeper.middleware.usage_record import SCOPE_KEY, UsageRecord
from tollkeeper.services.identifying import Identify
from tollkeeper.services.metering import Metering
from tollkeeper.settings import Settings, read_settings
from tollkeeper.telemetry.watch import watching

log = logging.getLogger(__name__)

UPKEEP_SECONDS = 5
PATHS_REMEMBERED = 1024

BILLING_PATHS = ("/billing", "/billing/*")
"""Where `billing_routes` is mounted by custom: webhooks and pages have keys of their own, and are not what is sold."""


class MeteringMiddleware:
    """Meters every HTTP request below it: one customer, one hold, one `usage_events` row each.

    `include` and `exclude` are globs over the path (`*` crosses slashes); paths outside `include` and in `exclude` pass
    untouched, as do `/billing` and everything that is no HTTP request. `identify(scope)` names the customer in place of the
    API key, and may be async. Any field of `Settings` can be given by name and wins over the environment.
    """

    def __init__(
        self,
        app: ASGIApp,
        /,
        *,
        identify: Identify | None = None,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        settings: Settings | None = None,
        clock: Clock | None = None,
        **overrides: object,
    ) -> None:
        self.app = app
        self._identify = identify
        self._include = tuple(include)
        self._exclude = (*exclude, *BILLING_PATHS)
        self._settings = settings if settings is not None else read_settings(**overrides)
        self._settings.need_database_url()
        self._settings.need_redis_url()
        self._clock = clock if clock is not None else self._settings.clock()
        self._loops = Loops(self._settings, self._clock)
        self._paths: dict[str, bool] = {}
        """Paths that came by, and whether they are metered."""
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._closing(send))
        elif scope["type"] != "http" or not self._metered(scope):
            await self.app(scope, receive, send)
        elif SCOPE_KEY in scope:
            self._warn_of_two()
            await self.app(scope, receive, send)
        else:
            await self._meter(scope, receive, send)

    def _metered(self, scope: Scope) -> bool:
        path = scope["path"]
        chosen = self._paths.get(path)
        if chosen is None:
            chosen = _matches(path, self._include) and not _matches(path, self._exclude)
            if len(self._paths) < PATHS_REMEMBERED:
                self._paths[path] = chosen
        # A browser asks for leave before the request proper, without credentials.
        return chosen and not (scope["method"] == "OPTIONS" and _asks_for_leave(scope))

    async def _meter(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = self._loops.own()
        head, ahead = Head(scope), ReadAhead(receive)
        began = self._clock.monotonic()
        try:
            facts = await _facts(scope, head, ahead)
            caller = caller_by_key(scope) if self._identify is None else await caller_by_host(self._identify, scope)
            admission = await own.metering.admit(uuid4(), caller, facts, self._clock.now(), head.method, head.path)
        except TollkeeperError as refusal:
            if own.watch is not None:
                own.watch.refused(refusal.code, self._clock.monotonic() - began)
            await send_refusal(send, refusal, self._clock.now(), head.request_id)
            return
        if own.watch is not None:
            own.watch.admitted(self._clock.monotonic() - began)
        record = scope[SCOPE_KEY] = UsageRecord()
        tap = Tap(send, scope, head, own.metering, admission, facts, record, self._clock, began, own.watch)
        own.open.add(tap)
        raised = True
        try:
            await self.app(scope, ahead.receive, tap.send)
            raised = False
        finally:
            try:
                await tap.finish(raised=raised)
            finally:
                own.open.discard(tap)

    def _warn_of_two(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("MeteringMiddleware is mounted twice over the same paths: each request is counted once")

    def _closing(self, send: Send) -> Send:
        """Finish what is under way before the server is told that the app has shut down."""

        async def closing(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._loops.close()
            await send(message)

        return closing


class Own:
    """What one event loop has: its `Metering`, and the requests that it is metering."""

    def __init__(self, metering: Metering) -> None:
        self.metering = metering
        self.open: set[Tap] = set()
        self.upkeep = asyncio.create_task(_look_after(metering))
        self.watch = watching()

    async def close(self) -> None:
        """Settle what is still running with what it has shown so far, finish what is under way, and let go.

        A server that gives up waiting for its streams cancels them and tells the app to shut down in the same breath.
        """
        self.upkeep.cancel()
        await asyncio.gather(*[tap.settle(complete=False) for tap in self.open], return_exceptions=True)
        await self.metering.close()


class Loops:
    """One `Metering` for each event loop: a server has one loop, a test client may make one for every request."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._owned: WeakKeyDictionary[asyncio.AbstractEventLoop, Own] = WeakKeyDictionary()

    def own(self) -> Own:
        """The running loop's own; made at its first request."""
        loop = asyncio.get_running_loop()
        own = self._owned.get(loop)
        if own is None:
            left = self._forget_closed()
            own = self._owned[loop] = Own(Metering(self._settings, self._clock))
            own.metering.take_over(left)
        return own

    async def close(self) -> None:
        """Close the running loop's own."""
        own = self._owned.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close()

    def _forget_closed(self) -> list[Call]:
        closed = [loop for loop in self._owned if loop.is_closed()]
        return [call for loop in closed for call in self._owned.pop(loop).metering.discard()]


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _asks_for_leave(scope: Scope) -> bool:
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


async def _facts(scope: Scope, head: Head, ahead: ReadAhead) -> RequestFacts:
    """What the request says of its own size: read from its body, or from the length of one that is not read."""
    body = await ahead.read() if worth_reading(head) else b""
    facts = read_request(scope["method"], scope["path"], head.fields.get(b"content-type"), body)
    if body:
        return facts
    return RequestFacts(facts.model_id, head.content_length, facts.tokens_out_bound, facts.stream)


async def _look_after(metering: Metering) -> None:
    while True:
        await asyncio.sleep(UPKEEP_SECONDS)
        try:
            await metering.look_after()
        except TollkeeperError as error:
            log.warning("looking after holds and journal waits for another try: %s", error)
