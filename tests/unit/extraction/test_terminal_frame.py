"""The chunk that ends an answer is known when it is fed, so that it can be kept back until the use is stored."""

from __future__ import annotations

import pytest

from tollkeeper.extraction.answer import AnswerReader
from unit.extraction.samples import (
    DONE,
    K2_START,
    MESSAGE_STOP,
    SAMPLES,
    STREAMS,
    Sample,
    chat,
    chat_chunk,
    message_delta,
    message_start,
    read,
    sse,
    text_delta,
)


def reader_of(content_type: bytes | None = None, length: int | None = None, method: str = "POST") -> AnswerReader:
    headers = [(b"x-request-id", b"17"), (b"content-digest", b"18")]
    headers += [] if length is None else [(b"Content-Length", str(length).encode())]
    return AnswerReader(
        method=method, path="/", status=200, content_type=content_type, content_encoding=None, headers=headers
    )


@pytest.mark.parametrize("sample", STREAMS, ids=lambda sample: sample.name)
def test_a_stream_says_at_which_byte_its_terminal_frame_is_whole(sample: Sample) -> None:
    assert sample.terminal is not None
    reader = reader_of(sample.content_type)
    told = [reader.feed(sample.body[place : place + 1]) for place in range(len(sample.body))]
    frame_begins = sample.body.rindex(sample.terminal)
    frame_ends = sample.body.find(b"\n", frame_begins + len(sample.terminal) - 1)
    last_byte = frame_ends if frame_ends >= 0 else len(sample.body) - 1
    assert told.index(True) == last_byte
    assert all(told[last_byte:])


@pytest.mark.parametrize("sample", STREAMS, ids=lambda sample: sample.name)
def test_the_use_is_known_as_soon_as_the_terminal_frame_is(sample: Sample) -> None:
    reader = reader_of(sample.content_type)
    for place in range(len(sample.body)):
        if reader.feed(sample.body[place : place + 1]):
            break
    assert reader.finish() == read(sample.body, path="/", content_type=sample.content_type)


def test_gemini_has_no_terminal_frame_but_a_reason_to_finish() -> None:
    sample = next(sample for sample in SAMPLES if sample.name == "Gemini, streamed with CRLF")
    reader = reader_of(sample.content_type)
    assert reader.feed(sample.body) is False
    assert reader.finish().ended


def test_a_chat_stream_without_its_last_frame_has_ended_when_it_stopped_and_stated_its_use() -> None:
    reader = reader_of(b"text/event-stream")
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert not reader.feed(sse(chat_chunk({"content": "Nine"}), chat_chunk({}, finish="stop")))
    assert not reader.finish().ended
    assert not reader.feed(sse(chat_chunk(None, usage)))
    assert reader.finish().ended


def test_a_refused_prompt_is_the_end_of_a_gemini_stream() -> None:
    refusal = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}
    reader = reader_of(b"text/event-stream")
    reader.feed(sse(refusal))
    assert reader.finish().ended


def test_an_interaction_ends_with_its_own_event_and_no_other() -> None:
    reader = reader_of()
    usage = {"total_input_tokens": 7, "total_output_tokens": 2}
    for kind in ("interaction.start", "interaction.status_update"):
        assert not reader.feed(sse({"event_type": kind, "interaction": {"id": "interaction-1", "usage": usage}}))
    assert reader.feed(sse({"event_type": "interaction.complete", "interaction": {"id": "interaction-1"}}))


def test_metrics_that_an_app_passes_on_end_its_stream() -> None:
    reader = reader_of()
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 8, "outputTokenCount": 3}}
    assert not reader.feed(sse({"generation": "Nine", "generation_token_count": None}))
    assert reader.feed(sse(metrics))
    assert (reader.finish().tokens_in, reader.finish().tokens_out) == (8, 3)


def test_an_embedding_of_ollama_has_no_frame_to_wait_for() -> None:
    sample = next(sample for sample in SAMPLES if sample.name == "Ollama embed")
    assert not reader_of().feed(sample.body + b"\n")


def test_a_stream_that_goes_on_with_another_call_has_no_end_yet() -> None:
    reader = reader_of()
    assert reader.feed(sse(message_start(K2_START, "msg_0001"), message_delta({"output_tokens": 2}), MESSAGE_STOP))
    assert not reader.feed(sse(message_start(K2_START, "msg_0002")))
    assert not reader.feed(sse(text_delta("Ni")))
    assert reader.feed(sse(message_delta({"output_tokens": 2}), MESSAGE_STOP))


def test_the_words_of_a_terminal_frame_inside_a_text_end_nothing() -> None:
    reader = reader_of(b"text/event-stream")
    for text in ("data: [DONE]", "\ndata: [DONE]\n\n", '{"type":"message_stop"}', "[DONE]"):
        assert not reader.feed(sse(chat_chunk({"content": text})))
    assert reader.feed(DONE + b"\n\n")


def test_a_declared_length_that_is_reached_is_an_end_too() -> None:
    body = chat({"prompt_tokens": 1, "completion_tokens": 1})
    reader = reader_of(length=len(body))
    assert not reader.feed(body[:-1])
    assert reader.feed(body[-1:])


@pytest.mark.parametrize("length", [b"", b"x", b"-5", b"1_0", b"9" * 40])
def test_a_length_that_is_no_number_ends_nothing(length: bytes) -> None:
    reader = AnswerReader(
        method="POST",
        path="/",
        status=200,
        content_type=None,
        content_encoding=None,
        headers=[(b"content-length", length)],
    )
    assert not reader.feed(b"{}")


def test_an_answer_without_a_body_never_ends_by_a_frame() -> None:
    reader = reader_of(method="HEAD", length=2)
    assert not reader.feed(sse(DONE))
