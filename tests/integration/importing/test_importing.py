from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from integration.importing.conftest import Desk, row
from tollkeeper.domain.errors import InvalidInput, StoreUnavailable
from tollkeeper.services import importing
from tollkeeper.services.importing import BATCH, MAX_LINE_BYTES, ImportStopped, ImportSummary

CSV = "id,user_id,timestamp,model_id,tokens_in,tokens_out\n"


def csv_line(number: int, **changes: Any) -> str:
    return ",".join(str(value) for value in row(number, **changes).values()) + "\n"


def test_a_row_becomes_an_event_with_its_cost_and_the_period_its_totals(desk: Desk) -> None:
    summary = desk.take_rows(row(1), row(2, model_id="o3", tokens_in=500, units={"images": "1.5"}, status_code=200))

    assert summary == ImportSummary(accepted=2)
    assert [
        (e["id"], e["model_id"], e["tokens_in"], e["cost_units"], e["status_code"], e["recorded_at"])
        for e in desk.events()
    ] == [
        # 110 and 510 tokens at 1 cent a thousand
        (UUID(int=1), "gpt-4o", 100, Decimal("0.11"), None, desk.clock.now()),
        (UUID(int=2), "o3", 500, Decimal("0.51"), 200, desk.clock.now()),
    ]
    (period,) = desk.rows("SELECT * FROM usage_periods")
    assert (period["events"], period["tokens"], period["spent"]) == (2, 620, 1)
    assert period["totals"]["o3"] == {"input": 500, "output": 10, "requests": 1, "images": "1.5"}


def test_the_same_file_again_is_all_duplicates_and_changes_nothing(desk: Desk) -> None:
    rows = [row(n) for n in range(5)]
    desk.take_rows(*rows)
    before = desk.events(), desk.rows("SELECT events, tokens, totals, cost_units, spent FROM usage_periods")
    desk.clock.advance(timedelta(days=1))

    assert desk.take_rows(*rows) == ImportSummary(duplicate=5)
    assert (desk.events(), desk.rows("SELECT events, tokens, totals, cost_units, spent FROM usage_periods")) == before


def test_the_same_id_twice_in_one_file_is_one_event(desk: Desk) -> None:
    assert desk.take_rows(row(1), row(1)) == ImportSummary(accepted=1, duplicate=1)
    assert len(desk.events()) == 1


OTHER_CONTENT: tuple[dict[str, Any], ...] = (
    {"tokens_in": 101},
    {"user_id": "bob"},
    {"model_id": "o3"},
    {"timestamp": "2026-11-03T10:00:01Z"},
    {"timestamp": "2026-03-03T10:00:00Z"},  # another month: another partition, and still the same id
    {"units": {"images": 1}},
    {"compute_minutes": 1},
)


@pytest.mark.parametrize("apart", [True, False], ids=["in a later file", "in the same file"])
def test_an_id_seen_before_with_other_content_is_rejected_and_the_first_stays(desk: Desk, apart: bool) -> None:
    first = [row(n) for n in range(len(OTHER_CONTENT))]
    second = [row(n, **changes) for n, changes in enumerate(OTHER_CONTENT)]
    if apart:
        desk.take_rows(*first)
        summary = desk.take_rows(*second)
    else:
        summary = desk.take_rows(*first, *second)

    assert summary == ImportSummary(accepted=0 if apart else 7, rejected=7)
    lines = range(1, 8) if apart else range(8, 15)
    assert desk.rejected == [f"{n}: id: expected one that was not seen before with other content" for n in lines]
    assert {(e["user_id"], e["tokens_in"], e["model_id"], str(e["units"])) for e in desk.events()} == {
        ("ada", 100, "gpt-4o", "{}")
    }


def test_bad_rows_are_told_in_order_with_line_and_reason_and_good_ones_kept(desk: Desk) -> None:
    late = (desk.clock.now() + timedelta(minutes=6)).isoformat()
    lines: list[bytes] = [
        json.dumps(row(1)).encode(),
        b"",
        b"{",
        json.dumps(row(2, user_id="eve")).encode(),
        json.dumps(row(3, timestamp=late)).encode(),
        json.dumps(row(4, tokens_in=-5)).encode(),
        b'{"id": "\xff"}',
        b'{"id": "' + b"x" * MAX_LINE_BYTES + b'"}',
        json.dumps(row(1, tokens_out=11)).encode(),
        json.dumps(row(5, token_out=11)).encode(),
        json.dumps(row(6)).encode(),
    ]

    summary = desk.take(io.BytesIO(b"\n".join(lines)))

    assert summary == ImportSummary(accepted=2, rejected=8)
    assert desk.rejected == [
        "3: row: expected a JSON object on one line, but it is not",
        "4: user_id: expected a customer that exists",
        "5: timestamp: expected a time that is not in the future",
        "6: tokens_in: expected a whole number from 0 to 2^63 - 1",
        "7: row: expected UTF-8",
        "8: row: expected at most 65,536 bytes on one line",
        "9: id: expected one that was not seen before with other content",
        "10: token_out: expected a column of usage_events; this is none",
    ]
    assert [event["id"] for event in desk.events()] == [UUID(int=1), UUID(int=6)]


def test_csv_is_read_with_any_line_end_a_byte_order_mark_and_no_last_newline(desk: Desk) -> None:
    text = CSV + csv_line(1) + "\r\n" + csv_line(2).replace("\n", "\r\n") + csv_line(3, tokens_in="many") + csv_line(4)

    summary = desk.take(io.BytesIO(b"\xef\xbb\xbf" + text.rstrip("\n").encode()), form="csv")

    assert summary == ImportSummary(accepted=3, rejected=1)
    assert desk.rejected == ["5: tokens_in: expected a whole number from 0 to 2^63 - 1"]


def test_a_csv_header_that_cannot_be_used_stores_nothing(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="tokens_out: expected a column of this name in the first line"):
        desk.take(io.BytesIO(b"id,user_id,timestamp,model_id,tokens_in\n" + csv_line(1).encode()), form="csv")
    assert desk.events() == []


@pytest.mark.parametrize(
    "text", [json.dumps(row(1)), "\n\n  " + json.dumps(row(1)), CSV + csv_line(1), "\n" + CSV + csv_line(1)]
)
def test_standard_input_shows_its_form_in_its_first_line(desk: Desk, text: str) -> None:
    assert desk.take(io.BytesIO(text.encode()), form=None) == ImportSummary(accepted=1)


@pytest.mark.parametrize("text", ["", "\n \n", CSV])
def test_a_file_without_rows_is_no_mistake(desk: Desk, text: str) -> None:
    assert desk.take(io.BytesIO(text.encode()), form=None) == ImportSummary()


def test_a_year_of_rows_lands_in_its_own_months_and_periods(desk: Desk) -> None:
    summary = desk.take_rows(*(row(n, timestamp=f"2025-{n:02}-28T23:59:59.999999Z") for n in range(1, 13)))

    assert summary == ImportSummary(accepted=12)
    starts = [period["period_start"] for period in desk.rows("SELECT period_start FROM usage_periods ORDER BY 1")]
    assert starts == [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]
    assert {str(e["partition"]) for e in desk.rows("SELECT tableoid::regclass AS partition FROM usage_events")} == {
        f"usage_events_2025_{month:02}" for month in range(1, 13)
    }


def test_an_event_at_the_very_end_of_a_period_belongs_to_the_next(desk: Desk) -> None:
    desk.take_rows(
        row(1, timestamp="2026-10-31T23:59:59.999999Z"), row(2, timestamp="2026-11-01T01:00:00+01:00", tokens_in=7)
    )

    assert desk.rows("SELECT period_start, tokens FROM usage_periods ORDER BY 1") == [
        {"period_start": datetime(2026, 10, 1, tzinfo=UTC), "tokens": 110},
        {"period_start": datetime(2026, 11, 1, tzinfo=UTC), "tokens": 17},
    ]


def test_a_period_that_is_over_sends_no_notices_and_the_open_one_does(desk: Desk) -> None:
    desk.take_rows(row(1, timestamp="2026-10-03T10:00:00Z", tokens_in=5_000))
    assert desk.rows("SELECT * FROM quota_alerts") == []

    desk.take_rows(row(2, tokens_in=790))  # 800 of 1,000 with the 10 of the answer
    assert [a["threshold"] for a in desk.rows("SELECT threshold FROM quota_alerts ORDER BY 1")] == [50, 80]


def test_a_thousand_bad_ids_cost_one_line_each_and_no_more(desk: Desk) -> None:
    summary = desk.take_rows(*(row(n, id=str(n)) for n in range(1_200)), row(1))

    assert summary == ImportSummary(accepted=1, rejected=1_200)
    assert len(desk.rejected) == 1_200


def test_rows_are_stored_batch_by_batch_and_progress_is_told(desk: Desk) -> None:
    total = 2 * BATCH + 1
    assert desk.take_rows(*(row(n) for n in range(total))) == ImportSummary(accepted=total)
    assert desk.batches == [BATCH, 2 * BATCH, total]


class Endless(io.RawIOBase):
    """A file that is made up as it is read: rows, and then one line of many megabytes."""

    def __init__(self, rows: int, megabytes: int) -> None:
        self._parts = self._make(rows, megabytes)
        self._rest = b""

    def _make(self, rows: int, megabytes: int) -> Iterator[bytes]:
        for number in range(rows):
            yield json.dumps(row(number, id="none", path="/" * 1_000)).encode() + b"\n"
        for _ in range(megabytes):
            yield b"x" * 2**20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._parts, b"")
        size = min(len(buffer), len(data))
        buffer[:size], self._rest = data[:size], data[size:]
        return size


def test_memory_stays_bounded_however_long_the_file_or_a_line(desk: Desk) -> None:
    source = io.BufferedReader(Endless(rows=8 * BATCH, megabytes=24))
    tracemalloc.start()
    try:
        summary = desk.take(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert summary == ImportSummary(rejected=8 * BATCH + 1)
    assert peak < 4 * 2**20  # the file is five megabytes of rows and one line of 24


def test_imports_of_the_same_file_at_once_store_each_event_once(desk: Desk) -> None:
    rows = [row(n) for n in range(300)]
    desks = [Desk(desk.database, desk.clock) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        summaries = list(pool.map(lambda one: one.take_rows(*rows), desks))

    assert sum(s.accepted for s in summaries) == 300
    assert sum(s.duplicate for s in summaries) == 600
    assert sum(one.waited for one in desks) >= 1
    assert desk.rows("SELECT events, tokens FROM usage_periods") == [{"events": 300, "tokens": 33_000}]


def test_an_import_that_the_database_leaves_says_how_far_it_came_and_can_be_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(n) for n in range(2 * BATCH)]
    settled = importing._Import._settled
    calls = iter([True, False])

    async def once(self: importing._Import, *args: Any) -> Any:
        if next(calls):
            return await settled(self, *args)
        raise StoreUnavailable("PostgreSQL did not answer")

    monkeypatch.setattr(importing._Import, "_settled", once)
    with pytest.raises(ImportStopped, match=rf"{BATCH} rows are done, and importing the same file again counts none"):
        desk.take_rows(*rows)
    monkeypatch.undo()

    assert desk.take_rows(*rows) == ImportSummary(accepted=BATCH, duplicate=BATCH)


def test_a_total_past_what_the_database_holds_rejects_the_row_that_passes_it(desk: Desk) -> None:
    most = 2**63 - 1
    summary = desk.take_rows(row(1, tokens_in=most, tokens_out=most), row(2, tokens_in=most, tokens_out=most), row(3))

    assert summary.accepted + summary.rejected == 3
    assert all("expected" in line or "row:" in line for line in desk.rejected)
    (period,) = desk.rows("SELECT events, tokens FROM usage_periods")
    assert period["events"] == summary.accepted
    assert period["tokens"] == sum(event["tokens_in"] + event["tokens_out"] for event in desk.events())
