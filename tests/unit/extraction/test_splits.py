"""A chunk is any run of bytes: where an answer is cut changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.extraction.answer import AnswerReader
from unit.extraction.samples import DONE, SAMPLES, Sample, chat_chunk, dump, lines, read, sse

SMALL = tuple(sample for sample in SAMPLES if len(sample.body) < 10_000)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in pairwise(ends)]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(st.integers(0, 2**20), max_size=12))
def test_any_split_gives_the_same_reading(sample: Sample, places: list[int]) -> None:
    whole = read(sample.body, content_type=sample.content_type)
    assert read(b"", pieces=cut(sample.body, places), content_type=sample.content_type) == whole


@pytest.mark.parametrize("sample", SMALL, ids=lambda sample: sample.name)
def test_one_byte_at_a_time_gives_the_same_reading(sample: Sample) -> None:
    pieces = [sample.body[place : place + 1] for place in range(len(sample.body))]
    whole = read(sample.body, content_type=sample.content_type)
    assert read(b"", pieces=pieces, content_type=sample.content_type) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_an_event_stream_may_end_its_lines_in_any_way_and_be_cut_inside_them(end: bytes, bom: bytes) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = bom + sse(
        b": a comment",
        b"id: 1" + end + b"event: x" + end + b"retry: 9" + end + b"data:" + dump(chat_chunk({"content": "ni"})),
        b"data: " + dump(chat_chunk({"content": "né"})).replace(b", ", b"," + end + b"data: "),
        b"data" + end + b"data:" + dump(chat_chunk(None, usage)),
        DONE,
        end=end,
    )
    whole = read(body)
    assert (whole.state, whole.tokens_in, whole.tokens_out, whole.seen_text_bytes) == ("reported", 5, 2, 5)
    for size in (1, 2, 3, 7):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        assert read(b"", pieces=pieces) == whole


@pytest.mark.parametrize("size", [1_000, 40_000, 65_537])
def test_texts_too_large_to_hold_may_come_in_pieces(size: int) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    large = {**chat_chunk({"content": "Nine"}), "padding": "x" * 150_000}
    stream = sse(
        large, b": " + b"y" * 100_000, chat_chunk({"content": "o'clock"}), large, chat_chunk(None, usage), DONE
    )
    for body in (stream, lines(large, chat_chunk(None, usage)), dump([large, chat_chunk(None, usage)])):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        reading = read(b"", pieces=pieces)
        assert reading == read(body)
        assert (reading.state, reading.tokens_in, reading.tokens_out) == ("reported", 5, 2)
        assert reading.seen_text_bytes == (15 if body is stream else 4)


def test_line_ends_may_be_mixed() -> None:
    body = (
        b'data: {"choices": [],\r\ndata: "usage": null}\r\n\n'
        b'data: {"choices": [],\rdata: "usage": {"prompt_tokens": 5}}\r\r\n'
    )
    whole = read(body)
    assert (whole.state, whole.tokens_in) == ("reported", 5)
    assert read(b"", pieces=[body[place : place + 1] for place in range(len(body))]) == whole


def test_the_last_line_of_a_stream_may_lack_its_end() -> None:
    chunks = (chat_chunk({"content": "Nine"}), chat_chunk(None, {"prompt_tokens": 5, "completion_tokens": 2}))
    assert read(sse(*chunks).rstrip()).tokens_in == 5
    reading = read(sse(*chunks, DONE).rstrip())
    assert (reading.state, reading.ended) == ("reported", True)
    assert not read(sse(*chunks).rstrip()).ended


def test_a_broken_line_among_others_is_passed_over_and_empty_ones_are_nothing() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    body = lines(chat_chunk({"content": "Nine"})) + b'{"oops\n\n \r\n' + lines(chat_chunk(None, usage))
    for content_type in (None, b"application/x-ndjson"):
        reading = read(body, content_type=content_type)
        assert (reading.state, reading.tokens_in, reading.seen_text_bytes) == ("reported", 5, 4)
    first_broken = read(b'{"oops\n' + body, content_type=b"application/jsonl")
    assert (first_broken.state, first_broken.tokens_in) == ("reported", 5)


def test_an_event_over_several_lines_that_is_whole_leaves_no_doubt() -> None:
    body = sse(b'data: {"choices":\ndata: [{"delta": {"content": "Nine"}}]}')
    assert (read(body).state, read(body).seen_text_bytes) == ("not_reported", 4)


def test_empty_chunks_and_every_kind_of_bytes_are_taken() -> None:
    reader = AnswerReader(method="POST", path="/", status=200, content_type=None, content_encoding=None)
    body = sse(chat_chunk(None, {"prompt_tokens": 5, "completion_tokens": 2}), DONE)
    for piece in (b"", bytearray(body[:20]), b"", memoryview(body[20:40]), body[40:], b""):
        reader.feed(piece)
    assert reader.finish().tokens_in == 5


def test_asking_before_the_end_changes_nothing() -> None:
    for sample in SMALL:
        reader = AnswerReader(
            method="POST", path="/", status=200, content_type=sample.content_type, content_encoding=None
        )
        for place in range(0, len(sample.body), 37):
            reader.feed(sample.body[place : place + 37])
            reader.finish()
        assert reader.finish() == reader.finish() == read(sample.body, path="/", content_type=sample.content_type)


def test_empty_lines_may_keep_the_connection_alive_before_the_answer() -> None:
    for sample in SMALL:
        if sample.dialect != "bedrock" and not sample.body.startswith(b"\0"):
            pieces = [b"\n"] * 3_000 + [sample.body]
            assert read(b"", pieces=pieces).tokens_in == sample.use[0]


def test_an_event_over_several_lines_can_be_read_before_its_empty_line() -> None:
    start = b'data: {"choices": [],\ndata: "usage": {"prompt_tokens": 5,\n'
    reading = read(start + b'data: "completion_tokens": 2}}')
    assert (reading.state, reading.tokens_in, reading.tokens_out) == ("reported", 5, 2)
    assert read(start).tokens_in == 5
    long = b'data: {"padding": "' + b"x" * 70_000 + b'",\ndata: ' + start[7:]
    assert read(long).tokens_in == 5
    reading = read(long + b'data: "completion_tokens": 2}}\n')
    assert (reading.state, reading.tokens_in, reading.tokens_out) == ("reported", 5, 2)


def test_a_comment_of_any_length_is_passed_over() -> None:
    body = b":" + b"x" * 100_000 + b"\n\n" + sse(chat_chunk(None, {"prompt_tokens": 5, "completion_tokens": 2}))
    for size in (1_000, 1 << 20):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        assert read(b"", pieces=pieces).tokens_in == 5
