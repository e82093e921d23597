from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from tollkeeper.cli.printing import exact, number, plain, print_json, print_table


@dataclass
class Line:
    amount: int
    quantity: Decimal


def test_a_document_is_plain_json_with_exact_numbers() -> None:
    document = {
        "id": UUID(int=7),
        "at": datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        "lines": (Line(120, Decimal(400_000)), Line(0, Decimal("0.10"))),
        "quantities": [exact(Decimal("400000.000")), exact(Decimal("1.5")), exact(7)],
        "none": None,
        "yes": True,
    }

    assert plain(document) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "at": "2026-11-01T00:00:00Z",
        "lines": [{"amount": 120, "quantity": "400000"}, {"amount": 0, "quantity": "0.10"}],
        "quantities": [400_000, "1.5", 7],
        "none": None,
        "yes": True,
    }


def test_one_document_is_printed_and_any_terminal_can_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"user_id": "Ωmega", "spent": 1})

    printed = capsys.readouterr().out
    assert json.loads(printed) == {"user_id": "Ωmega", "spent": 1}
    assert printed.isascii()


def test_a_table_lines_up_with_figures_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("model", "quantity"), [("gpt-4o", "1,000"), ("o3", "7")], right=frozenset({1}))

    assert capsys.readouterr().out.splitlines() == ["model   quantity", "gpt-4o     1,000", "o3             7"]


def test_on_a_terminal_the_same_cells_stand_in_a_table_with_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)

    print_table(("status", "quantity"), [("paid", "1,000"), ("[b]parked", "7")], right=frozenset({1}))

    printed = capsys.readouterr().out
    assert "\x1b[32mpaid" in printed
    assert "[b]parked" in printed, "what stands in a cell is text, not markup"
    assert "━" in printed or "─" in printed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1_234_567, "1,234,567"), (Decimal("1234.50"), "1,234.50"), (Decimal("1E+3"), "1,000")],
)
def test_numbers_are_grouped_by_thousands(value: Decimal | int, shown: str) -> None:
    assert number(value) == shown
