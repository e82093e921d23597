from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.usage_row import EARLIEST, MAX_AHEAD, csv_rows, event_of, json_row

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
ID = "018f0000-0000-7000-8000-00000000000a"
LEAST: dict[str, Any] = {
    "id": ID,
    "user_id": "ada",
    "timestamp": "2026-10-03T10:00:00Z",
    "model_id": "gpt-4o",
    "tokens_in": 12,
    "tokens_out": 3,
}
EVERYTHING: dict[str, Any] = {
    **LEAST,
    "cached_tokens_in": 4,
    "cache_write_tokens_in": 2,
    "reasoning_tokens_out": 1,
    "compute_minutes": "0.25",
    "latency_ms": 340,
    "status_code": 200,
    "method": "POST",
    "path": "/v1/chat/completions",
    "request_id": "req_1",
    "estimated": True,
    "complete": False,
    "billable": False,
    "usage_state": "not_reported",
    "units": {"images": 3, "seconds": "1.5"},
}
AS_EVENT = UsageEvent(
    id=UUID(ID),
    user_id="ada",
    timestamp=datetime(2026, 10, 3, 10, tzinfo=UTC),
    usage=Usage("gpt-4o", 12, 3, 4, 2, 1, Decimal("0.25"), {"images": Decimal(3), "seconds": Decimal("1.5")}),
    status_code=200,
    method="POST",
    path="/v1/chat/completions",
    request_id="req_1",
    latency_ms=340,
    estimated=True,
    complete=False,
    state="not_reported",
    billable=False,
)


def from_json(**changes: Any) -> UsageEvent:
    return event_of(json_row(json.dumps({**LEAST, **changes})), NOW)


def test_a_row_with_the_needed_columns_is_an_event() -> None:
    assert from_json() == UsageEvent(
        UUID(ID), "ada", datetime(2026, 10, 3, 10, tzinfo=UTC), Usage("gpt-4o", tokens_in=12, tokens_out=3)
    )


def test_every_column_that_an_event_has_is_read() -> None:
    assert event_of(json_row(json.dumps(EVERYTHING)), NOW) == AS_EVENT


def test_csv_says_the_same_in_cells() -> None:
    header = ",".join(EVERYTHING)
    cells = [json.dumps(EVERYTHING["units"]).replace('"', '""') if c == "units" else EVERYTHING[c] for c in EVERYTHING]
    line = ",".join(f'"{str(cell).lower() if isinstance(cell, bool) else cell}"' for cell in cells)

    assert event_of(csv_rows(header)(line + "\r\n"), NOW) == AS_EVENT


def test_what_postgresql_copies_out_can_be_read_back() -> None:
    header = (
        "id,user_id,timestamp,model_id,tokens_in,tokens_out,cost_units,estimated,units,unpriced,revision,recorded_at"
    )
    line = f'{ID},ada,2026-10-03 10:00:00+00,gpt-4o,12,3,0.36,f,"{{""images"": 3}}",f,1,2026-10-03 10:00:01.5+00'

    event = event_of(csv_rows(header)(line), NOW)

    assert event.usage == Usage("gpt-4o", 12, 3, units={"images": Decimal(3)})
    assert not event.estimated


def test_an_empty_cell_and_a_null_are_as_if_the_column_were_not_there() -> None:
    header = "id,user_id,timestamp,model_id,tokens_in,tokens_out,latency_ms,path"
    assert event_of(csv_rows(header)(f"{ID},ada,2026-10-03T10:00:00Z,gpt-4o,12,3,,"), NOW) == from_json()
    assert from_json(latency_ms=None, units=None, complete=None) == from_json()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("id", "7", "a UUID"),
        ("id", 7, "a UUID"),
        ("id", ID + "0", "a UUID"),
        ("id", "{" + ID + "}", "a UUID"),
        ("user_id", "", "1 to 255 bytes of UTF-8 without control characters"),
        ("user_id", "a\x00b", "1 to 255 bytes of UTF-8 without control characters"),
        ("user_id", "é" * 128, "1 to 255 bytes of UTF-8 without control characters"),
        ("user_id", 7, "1 to 255 bytes of UTF-8 without control characters"),
        ("model_id", "", "1 to 255 bytes of UTF-8 without control characters"),
        ("timestamp", "2026-10-03T10:00:00", "an ISO 8601 time with an offset"),
        ("timestamp", "2026-10-03", "an ISO 8601 time with an offset"),
        ("timestamp", 1_790_000_000, "an ISO 8601 time with an offset"),
        ("timestamp", "1999-12-31T23:59:59Z", "a time from 2000-01-01 on"),
        ("tokens_in", -1, "a whole number from 0 to"),
        ("tokens_in", 1.0, "a whole number from 0 to"),
        ("tokens_in", 2**63, "a whole number from 0 to"),
        ("tokens_in", "12", "a whole number from 0 to"),
        ("tokens_in", True, "a whole number from 0 to"),
        ("tokens_out", None, "a value; it is missing"),
        ("cached_tokens_in", 13, "at most tokens_in"),
        ("reasoning_tokens_out", 4, "at most tokens_out"),
        ("compute_minutes", -1, "0 to"),
        ("compute_minutes", "1e3", "a number from 0"),
        ("compute_minutes", [], "a number from 0"),
        ("latency_ms", 2**31, "a whole number from 0 to 2147483647"),
        ("status_code", 99, "a whole number from 100 to 599"),
        ("path", "/\n", "text of at most 2048 characters"),
        ("path", "/" * 2049, "text of at most 2048 characters"),
        ("estimated", "yes", "true or false"),
        ("estimated", 1, "true or false"),
        ("usage_state", "guessed", "one of reported, not_reported, unreadable"),
        ("units", [3], "an object"),
        ("units", {"tokens": 3}, "a name of letters"),
        ("units", {"images": None}, "a number from 0"),
        ("token_in", 3, "a column of usage_events"),
    ],
)
def test_a_wrong_value_is_refused_with_its_column_and_what_was_expected(column: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_json(**{column: value})

    assert caught.value.field.split(".")[0] == column
    assert reason in caught.value.expected


@pytest.mark.parametrize("column", list(LEAST))
def test_a_needed_column_that_is_not_there_is_named(column: str) -> None:
    row = {key: value for key, value in LEAST.items() if key != column}
    with pytest.raises(InvalidInput, match=f"{column}: expected a value; it is missing"):
        event_of(row, NOW)


def test_clocks_may_disagree_by_five_minutes_and_no_more() -> None:
    latest = NOW + MAX_AHEAD
    assert from_json(timestamp=latest.isoformat()).timestamp == latest
    assert from_json(timestamp=EARLIEST.isoformat()).timestamp == EARLIEST
    with pytest.raises(InvalidInput, match="not in the future"):
        from_json(timestamp=(latest + timedelta(microseconds=1)).isoformat())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": 1', "but it is not"),
        ("nonsense", "but it is not"),
        ('{"tokens_in": NaN}', "NaN is no number of JSON"),
        ('{"tokens_in": -Infinity}', "-Infinity is no number of JSON"),
        ('{"tokens_in": 1e999999999}', "too many digits"),
        ('{"compute_minutes": 1e-999999999}', "too many digits"),
        ('{"tokens_in": 1, "tokens_in": 2}', "there twice"),
        ('{"tokens_in": ' + "9" * 5000 + "}", "but it is not"),
        ("[" * 60_000, "but it is not"),
        ("[1]", "a JSON object"),
        ("7", "a JSON object"),
    ],
)
def test_a_line_that_is_no_json_object_is_refused_with_a_reason(line: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match="row: expected") as caught:
        json_row(line)
    assert reason in caught.value.expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [("-1", None), ("1.0", None), ("1_000", None), (" 1", None), ("１", None), ("+1", None), ("1e3", None), ("007", 7)],
)
def test_a_count_in_a_cell_is_plain_digits(count: str, expected: int | None) -> None:
    read = csv_rows(",".join(LEAST))
    line = f"{ID},ada,2026-10-03T10:00:00Z,gpt-4o,{count},3"
    if expected is None:
        with pytest.raises(InvalidInput, match="tokens_in: expected a whole number"):
            event_of(read(line), NOW)
    else:
        assert event_of(read(line), NOW).usage.tokens_in == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{ID},ada", "6 values as in the first line, not 2"),
        (f"{ID},ada,2026-10-03T10:00:00Z,gpt-4o,1,2,3", "6 values as in the first line, not 7"),
        (f'{ID},"ada,2026-10-03T10:00:00Z,gpt-4o,1,2', "quotes that close on the same line"),
        (f'{ID},"a"da,2026-10-03T10:00:00Z,gpt-4o,1,2', "values separated by commas"),
    ],
)
def test_a_line_that_does_not_fit_its_header_is_refused(line: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        csv_rows(",".join(LEAST))(line)
    assert reason in caught.value.expected


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("id,user_id,timestamp,model_id,tokens_in", "tokens_out: expected a column of this name in the first line"),
        (",".join([*LEAST, "cost"]), "cost: expected a column of usage_events"),
        (",".join([*LEAST, "id"]), "id: expected each column once"),
        (",".join([*LEAST, ""]), "row: expected a column of usage_events"),
        (f"{ID},ada,2026-10-03T10:00:00Z,gpt-4o,1,2", f"{ID}: expected a column of usage_events"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_at_once(header: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        csv_rows(header)


PARTS = [
    {"model_id": "gpt-4o", "tokens_in": 10, "tokens_out": 1, "cached_tokens_in": 4},
    {"model_id": "whisper", "tokens_in": 2, "tokens_out": 2, "compute_minutes": "0.5", "units": {"images": "3"}},
]


def test_a_row_of_several_models_has_a_part_for_each_and_their_sums() -> None:
    event = from_json(parts=PARTS)
    assert (event.usage.model_id, event.usage.tokens_in, event.usage.tokens_out) == ("gpt-4o", 12, 3)
    assert (event.usage.cached_tokens_in, event.usage.compute_minutes) == (4, Decimal("0.5"))
    assert [(part.model_id, part.tokens_in, dict(part.units)) for part in event.usage.parts] == [
        ("gpt-4o", 10, {}),
        ("whisper", 2, {"images": Decimal(3)}),
    ]
    header = ",".join([*LEAST, "parts"])
    cells = [str(value) for value in LEAST.values()]
    quoted = json.dumps(PARTS).replace('"', '""')
    assert event_of(csv_rows(header)(",".join(cells) + f',"{quoted}"'), NOW) == event


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"parts": PARTS, "tokens_in": 13}, "parts: expected parts that add up to the row's own counts"),
        ({"parts": PARTS, "model_id": "whisper"}, "parts: expected parts that add up to the row's own counts"),
        ({"parts": PARTS, "compute_minutes": 1}, "parts: expected parts that add up to the row's own counts"),
        ({"parts": "gpt-4o"}, "parts: expected a list of objects with model_id"),
        ({"parts": [{"tokens_in": 12}]}, "parts: expected a list of objects with model_id"),
        ({"parts": [{**PARTS[0], "price": 1}]}, "parts: expected a list of objects with model_id"),
        ({"parts": [{**PARTS[0], "parts": PARTS}]}, "parts: expected a list of objects with model_id"),
        ({"parts": [{**PARTS[0], "tokens_in": -1}]}, "tokens_in: expected a whole number"),
    ],
)
def test_parts_that_are_not_what_the_row_says_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        from_json(**changes)
