"""Rounds: every app in turn, in an order that changes, until there are enough for a median."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from bench.processes import Process

IN_FLIGHT = 32


@dataclass(frozen=True, slots=True)
class Case:
    """One app with one kind of answer."""

    app: str
    label: str
    base: str
    """The app without what is measured; what `added` and `of bare` refer to."""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each measurement lasts, in seconds, and how many rounds there are."""

    rounds: int
    in_process: float
    many_connections: float
    one_connection: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One case in one round. Times in microseconds; `1` and `32` are requests in flight or connections."""

    cpu_1: float
    cpu_32: float
    wall_32: float
    http_rate_32: float
    http_cpu_32: float
    http_p50_32: float
    http_p99_32: float
    http_p50_1: float
    http_p99_1: float
    memory: float
    """The app's process, MiB."""


Round = dict[str, Sample]
"""By the label of the case."""


@dataclass(frozen=True, slots=True)
class Served:
    """An app's process and the port it listens on."""

    process: Process
    port: int


def measure(
    cases: Sequence[Case], apps: dict[str, Served], client: Process, pace: Pace, progress: Callable[[str], None]
) -> Iterator[Round]:
    """A round at a time."""
    for number in range(pace.rounds):
        order = list(cases)
        Random(number).shuffle(order)
        found = {}
        for case in order:
            progress(f"round {number + 1} of {pace.rounds}: {case.label}")
            found[case.label] = _sample(case, apps[case.app], client, pace)
        yield {case.label: found[case.label] for case in cases}


def middle(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    """The median of a figure that is computed inside each round, where both sides met the same conditions."""
    return median(map(figure, rounds))


def _sample(case: Case, app: Served, client: Process, pace: Pace) -> Sample:
    one = app.process.tell(do="drive", in_flight=1, seconds=pace.in_process, stream=case.stream)
    many = app.process.tell(do="drive", in_flight=IN_FLIGHT, seconds=pace.in_process, stream=case.stream)
    before = app.process.tell(do="spent")["cpu"]
    load = {"port": app.port, "stream": case.stream}
    http = client.tell(**load, connections=IN_FLIGHT, seconds=pace.many_connections)
    after = app.process.tell(do="spent")
    alone = client.tell(**load, connections=1, seconds=pace.one_connection)
    return Sample(
        cpu_1=1e6 * one["cpu"] / one["requests"],
        cpu_32=1e6 * many["cpu"] / many["requests"],
        wall_32=1e6 * many["wall"] / many["requests"],
        http_rate_32=http["requests"] / http["wall"],
        http_cpu_32=1e6 * (after["cpu"] - before) / http["requests"],
        http_p50_32=1e6 * http["p50"],
        http_p99_32=1e6 * http["p99"],
        http_p50_1=1e6 * alone["p50"],
        http_p99_1=1e6 * alone["p99"],
        memory=after["memory"],
    )
