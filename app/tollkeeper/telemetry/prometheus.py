"""Prometheus: counters and durations of the request path, and figures that are read out of the database when asked for.

Names and meanings are in `docs/how-to/monitoring.md`. No label ever carries a customer, a key or a model: labels come from closed
lists of ours, so the number of series is fixed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tollkeeper.domain.errors import ExtraMissing
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import TokenType

try:
    import prometheus_client
except ImportError:
    installed = False
else:
    installed = True

if TYPE_CHECKING:
    from prometheus_client import Counter, Metric
    from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From a quarter of a millisecond, what an idle machine needs, to the longest that a request may wait for its stores.
_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Gauge:
    """One figure as it stands now: a name without prefix, a sentence, and a value for each label's value."""

    name: str
    help: str
    values: Sequence[tuple[str, float]]
    label: str | None = None
    """The label's name; None where there is a single value, given under ""."""


class PrometheusWatch:
    """Counts what happens to requests. Every series is looked up once, when the process begins to meter."""

    def __init__(self) -> None:
        self._refused: dict[str, Counter] = {}
        self._refusals = prometheus_client.Counter(
            "tollkeeper_refusals", "Requests turned away before they reached the route.", ["code"]
        )
        events = prometheus_client.Counter(
            "tollkeeper_usage_events", "Events stored, by how well their usage is known.", ["usage"]
        )
        self._events = {usage: events.labels(usage) for usage in (*_STATES, "estimated")}
        self._incomplete = prometheus_client.Counter(
            "tollkeeper_incomplete_answers", "Events of answers that the client did not get to the end."
        )
        tokens = prometheus_client.Counter("tollkeeper_tokens", "Tokens stored.", ["token_type"])
        self._tokens = {kind: tokens.labels(kind.value) for kind in TokenType}
        self._admission = prometheus_client.Histogram(
            "tollkeeper_admission_seconds", "From a request's arrival to the decision on it.", buckets=_BUCKETS
        )
        self._settlement = prometheus_client.Histogram(
            "tollkeeper_settlement_seconds", "From the end of an answer to its event being stored.", buckets=_BUCKETS
        )

    def refused(self, code: str, seconds: float) -> None:
        counter = self._refused.get(code)
        if counter is None:
            counter = self._refused[code] = self._refusals.labels(code)
        counter.inc()
        self._admission.observe(seconds)

    def admitted(self, seconds: float) -> None:
        self._admission.observe(seconds)

    def settled(self, event: UsageEvent, seconds: float) -> None:
        usage = event.usage
        self._events["estimated" if event.estimated else event.state].inc()
        if not event.complete:
            self._incomplete.inc()
        cached, written = usage.cached_tokens_in, usage.cache_write_tokens_in
        tokens = self._tokens
        tokens[TokenType.INPUT].inc(usage.tokens_in - cached - written)
        tokens[TokenType.OUTPUT].inc(usage.tokens_out)
        if cached:
            tokens[TokenType.CACHED_INPUT].inc(cached)
        if written:
            tokens[TokenType.CACHE_WRITE].inc(written)
        self._settlement.observe(seconds)


_STATES = ("reported", "not_reported", "unreadable")


@cache
def watch() -> PrometheusWatch | None:
    """This process's counters; None where prometheus-client is not installed."""
    return PrometheusWatch() if installed else None


def exposition(gauges: Iterable[Gauge]) -> bytes:
    """Everything there is, in Prometheus's text form.

    Where `PROMETHEUS_MULTIPROC_DIR` is set the counters are those of every process that shares it. `ExtraMissing` where
    prometheus-client is not installed.
    """
    if not installed:
        raise ExtraMissing("prometheus-client", "metrics")
    watch()
    registry: prometheus_client.CollectorRegistry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the package has no types for it
    else:
        registry = prometheus_client.REGISTRY
    figures = prometheus_client.CollectorRegistry()
    figures.register(_collector(list(gauges)))
    return bytes(prometheus_client.generate_latest(registry) + prometheus_client.generate_latest(figures))


def _collector(gauges: list[Gauge]) -> Collector:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Figures(Collector):
        def collect(self) -> Iterator[Metric]:
            for gauge in gauges:
                family = GaugeMetricFamily(f"tollkeeper_{gauge.name}", gauge.help, labels=_labels(gauge))
                for value, figure in gauge.values:
                    family.add_metric([value] if gauge.label else [], figure)
                yield family

    return Figures()


def _labels(gauge: Gauge) -> list[str]:
    return [gauge.label] if gauge.label else []
