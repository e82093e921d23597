"""OpenTelemetry: a span for each decision and each settlement, and the token usage metric of the GenAI conventions.

Only where the host has set an SDK up before its first request; the API package alone records nothing and costs nothing.
Attributes: https://github.com/open-telemetry/semantic-conventions-genai. No span and no metric carries a customer or a key.
"""

from __future__ import annotations

import time

from tollkeeper.domain.event import UsageEvent

try:
    from opentelemetry import metrics, trace
except ImportError:
    installed = False
else:
    installed = True

_NAME = "tollkeeper"

# The convention's own advice for this histogram: powers of four.
_TOKEN_BUCKETS = tuple(4**n for n in range(14))


class OpenTelemetryWatch:
    """Spans lie below the one of the request, where the host traces requests."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(_NAME)
        meter = metrics.get_meter(_NAME)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
        )
        self._refusals = meter.create_counter(
            "tollkeeper.refusals", unit="{request}", description="Requests turned away before they reached the route."
        )

    def refused(self, code: str, seconds: float) -> None:
        self._span("tollkeeper.admit", seconds, {"tollkeeper.refusal": code})
        self._refusals.add(1, {"tollkeeper.refusal": code})

    def admitted(self, seconds: float) -> None:
        self._span("tollkeeper.admit", seconds, {})

    def settled(self, event: UsageEvent, seconds: float) -> None:
        usage = event.usage
        self._span(
            "tollkeeper.settle",
            seconds,
            {
                "gen_ai.response.model": usage.model_id,
                "gen_ai.usage.input_tokens": usage.tokens_in,
                "gen_ai.usage.output_tokens": usage.tokens_out,
                "tollkeeper.event_id": str(event.id),
                "tollkeeper.usage": "estimated" if event.estimated else event.state,
                "tollkeeper.complete": event.complete,
            },
        )
        for kind, count in (("input", usage.tokens_in), ("output", usage.tokens_out)):
            if count:
                self._tokens.record(count, {"gen_ai.token.type": kind, "gen_ai.response.model": usage.model_id})

    def _span(self, name: str, seconds: float, attributes: dict[str, str | int | bool]) -> None:
        """A span that is over already: it ends now and began so long ago."""
        end = time.time_ns()  # the tracer's own clock, which knows nothing of ours
        span = self._tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=attributes)
        span.end(end)


def watch() -> OpenTelemetryWatch | None:
    """None where the package is missing, or nobody has set up a tracer or a meter that records."""
    if not installed:
        return None
    return OpenTelemetryWatch() if _traced() or _metered() else None


def _traced() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def _metered() -> bool:
    found = metrics.get_meter_provider()
    # The stand-in that the API hands out before an SDK is set has no public name.
    return not isinstance(found, metrics.NoOpMeterProvider) and type(found).__name__ != "_ProxyMeterProvider"
