"""What is charged where an API did not say: one token for every four bytes, begun ones whole."""

from __future__ import annotations

import pytest

from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.estimate import Estimate, estimate
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts
from unit.extraction.samples import CHAT_USAGE, K2_START, chat, chat_chunk, message_start, read, sse, text_delta


def request(size: int = 100, out: int | None = None, text: int | None = None) -> RequestFacts:
    return RequestFacts("m-small", size, out, True, text)


def unreported(text: int, **more: object) -> Reading:
    return Reading("not_reported", seen_text_bytes=text, dialect="openai_chat", **more)  # type: ignore[arg-type] # checked below


@pytest.mark.parametrize(
    ("facts", "reading", "expected"),
    [
        (request(100), unreported(40), (25, 10)),  # 100 / 4 and 40 / 4
        (request(101), unreported(41), (26, 11)),  # 25.25 and 10.25, begun tokens whole
        (request(1), unreported(0), (1, 0)),
        (request(5_000, text=100), unreported(40), (25, 10)),  # the body without its media
        (request(100, out=8), unreported(40), (25, 8)),  # no more than the request allowed
        (request(100), unreported(40, tokens_in=7), (7, 10)),  # what was stated holds
        (request(100), unreported(40, tokens_in=7, tokens_out=12), (7, 12)),
        (request(100, out=8), unreported(40, tokens_out=12), (25, 12)),  # stated, so never lowered
        (None, unreported(40), (0, 10)),
    ],
)
def test_an_estimate_is_counted_from_bytes(
    facts: RequestFacts | None, reading: Reading, expected: tuple[int, int]
) -> None:
    assert estimate(facts, reading) == Estimate(*expected)


def test_a_reported_use_is_what_was_reported() -> None:
    assert estimate(request(), read(chat(CHAT_USAGE))) == Estimate(40, 25)


def test_nothing_is_guessed_about_an_answer_of_no_known_api() -> None:
    assert estimate(request(), read(b'{"files": []}', request=request())) == Estimate(0, 0)
    assert estimate(request(), read(b"plain words", request=request())) == Estimate(0, 0)


def test_nothing_is_guessed_about_what_is_not_billable() -> None:
    assert estimate(request(), unreported(40, billable=False)) == Estimate(0, 0)


def test_a_client_that_left_pays_for_the_input_that_was_stated_and_the_text_that_went_by() -> None:
    reading = read(sse(message_start(K2_START), text_delta("x" * 41)))
    assert estimate(request(1_000), reading) == Estimate(107, 11)


def test_a_stream_without_a_usage_chunk_is_estimated() -> None:
    reading = read(
        sse(chat_chunk({"content": "Nine o'clock"}), chat_chunk({"tool_calls": [{"function": {"arguments": "{}"}}]}))
    )
    assert estimate(request(100), reading) == Estimate(25, 4)  # 12 + 2 bytes


def expected_dialect(**more: object) -> str | None:
    facts = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "content_type": None,
        "content_encoding": None,
    }
    return AnswerReader(**{**facts, "request": request(), **more}).finish().dialect  # type: ignore[arg-type] # keywords


def test_an_answer_that_never_came_belongs_to_the_api_of_the_path_if_the_request_named_a_model() -> None:
    assert expected_dialect() == "openai_chat"
    assert expected_dialect(path="/v1/messages") == "anthropic"
    assert expected_dialect(path="/model/k-2/converse") == "bedrock"
    assert expected_dialect(path="/own/chat/room") is None
    assert expected_dialect(method="GET") is None
    assert expected_dialect(request=None) is None
    assert expected_dialect(request=RequestFacts(None, 5, None, False)) is None


def test_an_answer_of_an_unknown_shape_is_none_of_the_path_s_api() -> None:
    unknown = sse({"token": "Nine"})
    reading = read(unknown, path="/v1/chat/completions", content_type=b"text/event-stream", request=request())
    assert reading.dialect is None
    unreadable = read(b"\x1f\x8b", path="/v1/chat/completions", content_encoding=b"unheard-of", request=request())
    assert unreadable.dialect == "openai_chat"


def test_speech_is_estimated_by_the_text_that_was_to_be_spoken() -> None:
    reading = read(b"\xff\xfb\x90", path="/v1/audio/speech", content_type=b"audio/mpeg", request=request(100))
    assert estimate(request(100), reading) == Estimate(25, 0)
