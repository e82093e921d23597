"""What we want of the request path, as ratios inside one run, and how far it is from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measuring import Round, middle

BARE, FASTAPI, NAIVE, SLOWAPI, LIMITER, OURS = (
    "bare Starlette", "bare FastAPI", "naive metering", "slowapi, Redis", "fastapi-limiter, Redis", "tollkeeper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that should be at least or at most so much."""

    row: str
    sentence: str
    figure: Callable[[Round], float]
    target: float
    moonshot: float
    at_least: bool

    def verdict(self, measured: float) -> str:
        """Which of the two was reached."""
        for bound, word in ((self.moonshot, "moonshot"), (self.target, "target met")):
            if measured >= bound if self.at_least else measured <= bound:
                return word
        return "missed"


def _added_cpu(a_round: Round, label: str) -> float:
    return a_round[label].cpu_32 - a_round[BARE].cpu_32


def _added_wait(a_round: Round, label: str) -> float:
    return a_round[label].http_p50_1 - a_round[BARE].http_p50_1


def _over_bare(a_round: Round) -> float:
    return _added_cpu(a_round, OURS) / a_round[BARE].cpu_32


def _rate_over(label: str) -> Callable[[Round], float]:
    return lambda a_round: a_round[OURS].http_rate_32 / a_round[label].http_rate_32


GOALS = (
    Goal("1", "CPU added at 32 in flight, of bare's own (set for storing later)", _over_bare, 1.6, 1.1, False),
    Goal("2", "the same (set for storing first, which is what ours does)", _over_bare, 2.3, 1.7, False),
    Goal("3", "CPU that naive adds, over ours", lambda r: _added_cpu(r, NAIVE) / _added_cpu(r, OURS), 20, 35, True),
    Goal("4", "requests/s, 32 connections, of bare", _rate_over(BARE), 0.55, 0.70, True),
    Goal("5", "requests/s over naive", _rate_over(NAIVE), 10, 15, True),
    Goal("6a", "requests/s over slowapi, which only counts", _rate_over(SLOWAPI), 2, 2.7, True),
    Goal("6b", "requests/s over fastapi-limiter, which only counts", _rate_over(LIMITER), 2, 3.3, True),
    Goal("7", "p50 added at one connection, of what naive adds",
         lambda r: _added_wait(r, OURS) / _added_wait(r, NAIVE), 0.25, 0.15, False),
    Goal("8", "p99 at 32 connections, of bare's",
         lambda r: r[OURS].http_p99_32 / r[BARE].http_p99_32, 4, 2, False),
)  # fmt: skip


def judged(rounds: Sequence[Round]) -> list[tuple[Goal, float, float, float]]:
    """Each goal with the median, the lowest and the highest figure of the rounds."""
    return [
        (goal, middle(rounds, goal.figure), min(map(goal.figure, rounds)), max(map(goal.figure, rounds)))
        for goal in GOALS
    ]
