"""Figures as text, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.goals import judged
from bench.measuring import Case, Round, Sample, middle


def in_process(cases: Sequence[Case], rounds: Sequence[Round]) -> str:
    """Processor time of a request with no server around the app."""

    def row(case: Case) -> list[str]:
        of = _figures(case.label, rounds)
        added = middle(rounds, lambda r: r[case.label].cpu_32 - r[case.base].cpu_32)
        ratio = middle(rounds, lambda r: (r[case.label].cpu_32 - r[case.base].cpu_32) / r[case.base].cpu_32)
        return [
            *(f"{of(lambda s: s.cpu_1):,.0f}", f"{of(lambda s: s.cpu_32):,.0f}", f"{of(lambda s: s.wall_32):,.0f}"),
            *(("", "") if case.label == case.base else (f"{added:,.0f}", f"{ratio:.2f}")),
        ]

    heads = ["CPU us, 1 in flight", "CPU us, 32", "wall us, 32", "added CPU us, 32", "of its bare"]
    return _table("In process", heads, [(case.label, row(case)) for case in cases])


def over_http(cases: Sequence[Case], rounds: Sequence[Round]) -> str:
    """Requests through one uvicorn process; latencies to the last byte of the answer."""

    def row(case: Case) -> list[str]:
        of = _figures(case.label, rounds)
        share = middle(rounds, lambda r: r[case.label].http_rate_32 / r[case.base].http_rate_32)
        return [
            *(f"{of(lambda s: s.http_rate_32):,.0f}", "" if case.label == case.base else f"{share:.2f}"),
            *(f"{of(lambda s: s.http_p50_32) / 1000:.1f}", f"{of(lambda s: s.http_p99_32) / 1000:.1f}"),
            f"{of(lambda s: s.http_cpu_32):,.0f}",
            *(f"{of(lambda s: s.http_p50_1) / 1000:.2f}", f"{of(lambda s: s.http_p99_1) / 1000:.2f}"),
            f"{of(lambda s: s.memory):.0f}",
        ]

    heads = ["req/s, 32 conn.", "of its bare", "p50 ms", "p99 ms", "app CPU us", "1 conn.: p50 ms", "p99 ms", "MiB"]
    return _table("Over HTTP, one uvicorn process", heads, [(case.label, row(case)) for case in cases])


def goals(rounds: Sequence[Round]) -> str:
    """Target, moonshot and what was measured."""
    rows = []
    for goal, measured, low, high in judged(rounds):
        sign = ">=" if goal.at_least else "<="
        figures = [f"{sign} {goal.target:g}", f"{sign} {goal.moonshot:g}", f"{measured:.2f}", f"{low:.2f} - {high:.2f}"]
        rows.append((f"{goal.row:2} {goal.sentence}", [*figures, goal.verdict(measured)]))
    return _table("Goals", ["target", "moonshot", "measured", "in the rounds", ""], rows)


def _figures(label: str, rounds: Sequence[Round]) -> Callable[[Callable[[Sample], float]], float]:
    return lambda figure: middle(rounds, lambda a_round: figure(a_round[label]))


def _table(title: str, heads: list[str], rows: list[tuple[str, list[str]]]) -> str:
    first = max(len(title), *(len(name) for name, _ in rows))
    widths = [max(len(cell) for cell in column) for column in zip(heads, *(cells for _, cells in rows), strict=True)]

    def line(name: str, cells: list[str]) -> str:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        return "  ".join([f"{name:<{first}}", *padded]).rstrip()

    rule = "  ".join(["-" * first, *("-" * width for width in widths)])
    return "\n".join([line(title, heads), rule, *(line(name, cells) for name, cells in rows)])
