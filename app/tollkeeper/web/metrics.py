"""`GET /metrics` for Prometheus."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tollkeeper.domain.errors import ExtraMissing
from tollkeeper.runtime import Runtime
from tollkeeper.services.gauging import gauges
from tollkeeper.telemetry.prometheus import CONTENT_TYPE, Gauge, exposition

FRESH = timedelta(seconds=5)
"""Figures out of the database are read again after so long: whoever asks more often costs it nothing more."""


class Metrics:
    """Counters of this process (or of all that share `PROMETHEUS_MULTIPROC_DIR`) and figures out of the database."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = Lock()
        self._read_at: datetime | None = None
        self._gauges: list[Gauge] = []

    async def get(self, request: Request) -> Response:
        """The text that Prometheus scrapes. 401 without the token where one is set, 404 without prometheus-client."""
        if not self._allowed(request.headers.get("authorization", "")):
            return PlainTextResponse("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
        try:
            return Response(await run_in_threadpool(self._text), media_type=CONTENT_TYPE)
        except ExtraMissing as error:
            return PlainTextResponse(f"{error}\n", 404)

    def _allowed(self, authorization: str) -> bool:
        token = self._runtime.settings.metrics_token
        return token is None or hmac.compare_digest(
            authorization.encode("utf-8", "surrogateescape"), f"Bearer {token.get_secret_value()}".encode()
        )

    def _text(self) -> bytes:
        own, now = self._runtime, self._runtime.clock.now()
        with self._lock:
            if self._read_at is None or not timedelta() <= now - self._read_at < FRESH:
                self._gauges = gauges(own.database, own.settings.journal_dir, now)
                self._read_at = now
            current = self._gauges
        return exposition(current)
