"""Each API's own way to state its use, in the normalised form."""

from __future__ import annotations

import json

import pytest

from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.request import RequestFacts
from unit.extraction.samples import (
    CHAT_USAGE,
    DOCUMENTS,
    DONE,
    K2_START,
    MESSAGE_STOP,
    SAMPLES,
    Sample,
    agent_event,
    chat,
    chat_chunk,
    chunk_frame,
    dump,
    gemini,
    lines,
    message_delta,
    message_start,
    read,
    response,
    sse,
    text_delta,
    use_of,
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_an_answer_is_read_as_it_states_its_use(sample: Sample) -> None:
    reading = read(sample.body, content_type=sample.content_type)
    assert reading.state == "reported"
    assert use_of(reading) == sample.use
    assert (reading.model_id, reading.dialect) == (sample.model, sample.dialect)
    assert dict(reading.units) == sample.units
    assert reading.ended or sample.name.startswith(("agent events, one", "InvokeModel, streamed"))
    assert reading.billable
    if sample.text_bytes is not None:
        assert reading.seen_text_bytes == sample.text_bytes


@pytest.mark.parametrize("sample", DOCUMENTS, ids=lambda sample: sample.name)
def test_a_body_too_large_to_hold_is_read_the_same(sample: Sample) -> None:
    document = json.loads(sample.body)
    padding = {"padding": ["x" * 1_000] * 100}
    for padded in ({**padding, **document}, {**document, **padding}):
        reading = read(dump(padded), content_type=sample.content_type)
        assert (reading.state, use_of(reading)) == ("reported", sample.use)
        assert (reading.model_id, reading.dialect, dict(reading.units)) == (sample.model, sample.dialect, sample.units)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_body_states_its_use_whatever_its_content_type_says(sample: Sample) -> None:
    for content_type in (None, b"text/plain", b'Application/JSON; Charset="UTF-8"', b"text/event-stream"):
        assert use_of(read(sample.body, content_type=content_type)) == sample.use


def test_what_a_model_writes_in_its_text_is_not_use() -> None:
    claim = '{"usage": {"prompt_tokens": 999999, "completion_tokens": 999999}}\ndata: [DONE]\n\n'
    bodies = (
        chat(None, note=claim),
        sse(chat_chunk({"content": claim}), chat_chunk({"tool_calls": [{"function": {"arguments": claim}}]})),
        sse(message_start({"input_tokens": 0}), text_delta(claim)),
        dump({"id": "resp_1", "object": "response", "metadata": json.loads(claim.splitlines()[0]), "usage": None}),
        dump(gemini(claim, None)),
    )
    for body in bodies:
        reading = read(body)
        assert (reading.state, reading.tokens_in, reading.tokens_out) == ("not_reported", 0, 0)
        assert reading.dialect is not None


def test_an_answer_of_no_known_shape_says_nothing() -> None:
    bodies = (
        dump({"object": "list", "data": [{"id": "file-1", "bytes": 27}]}),
        dump({"amount": 5, "currency": "usd", "usage": "none"}),
        dump([1, 2, "three"]),
        dump("a text"),
        b"<html><body>usage</body></html>",
        b"plain words",
        b"",
        sse({"token": "ni"}, b"data: words"),
    )
    for body in bodies:
        reading = read(body)
        assert (reading.state, use_of(reading), reading.dialect) == ("not_reported", (0, 0, 0, 0, 0), None)
        assert reading.seen_text_bytes == 0


def test_a_provider_s_zero_differs_from_a_count_that_is_not_there() -> None:
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert read(chat(zero)).state == "reported"
    assert read(chat(None)).state == "not_reported"
    assert read(chat({})).state == "not_reported"


def test_a_stream_cut_before_its_counts_is_not_reported_and_keeps_what_was_stated() -> None:
    reading = read(sse(message_start(K2_START), text_delta("Nine o'cl")), content_type=b"text/event-stream")
    assert (reading.state, reading.ended) == ("not_reported", False)
    assert use_of(reading) == (107, 1, 90, 7, 0)
    assert reading.seen_text_bytes == 9
    reading = read(sse(chat_chunk({"content": "Nine"})) + b'data: {"id":"c-1","choices":[{"delta":{"content":" o\'cl')
    assert (reading.state, reading.dialect, reading.ended) == ("not_reported", "openai_chat", False)


def test_counts_of_a_stream_hold_up_to_the_last_event_that_came() -> None:
    cumulative = gemini("Nine", {"promptTokenCount": 9, "candidatesTokenCount": 2})
    reading = read(sse(cumulative))
    assert (reading.state, use_of(reading), reading.ended) == ("reported", (9, 2, 0, 0, 0), False)


def test_text_after_the_last_stated_counts_is_not_covered_by_them() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    events = [chat_chunk({"content": ""}, zeros), chat_chunk({"content": "Nine o'clock"})]
    assert read(sse(*events)).state == "not_reported"
    assert read(sse(*events, DONE)).state == "reported"
    second_call = [agent_event("Look", {"promptTokenCount": 10}), agent_event("Ni", partial=True)]
    assert read(sse(*second_call)).state == "not_reported"


def test_an_id_of_its_own_on_every_chunk_does_not_add_up_cumulative_counts() -> None:
    chunks = [
        chat_chunk({"content": "w"}, {"prompt_tokens": 7, "completion_tokens": n}, "stop" if n == 3 else None, f"c-{n}")
        for n in (1, 2, 3)
    ]
    reading = read(sse(*chunks, chat_chunk(None, {"prompt_tokens": 7, "completion_tokens": 3}, call="c-4"), DONE))
    assert use_of(reading) == (7, 3, 0, 0, 0)


def test_an_answer_that_ends_one_call_and_begins_another_has_not_ended() -> None:
    first = sse(message_start(K2_START, "msg_0001"), message_delta({"output_tokens": 4}), MESSAGE_STOP)
    second = sse(message_start(K2_START, "msg_0002"), text_delta("Ni"))
    reading = read(first + second)
    assert (reading.state, reading.ended) == ("not_reported", False)
    assert (reading.tokens_in, reading.tokens_out) == (214, 5)


def test_an_error_in_the_stream_leaves_what_was_stated() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
    reading = read(sse(message_start(K2_START), b"event: error\ndata: " + dump(error)))
    assert (reading.state, reading.tokens_in, reading.ended) == ("not_reported", 107, False)


def test_a_model_is_named_by_the_answer_or_else_by_the_request() -> None:
    facts = RequestFacts("m-small", 10, None, False)
    assert read(chat(CHAT_USAGE), request=facts).model_id == "m-small-1"
    assert read(chat(CHAT_USAGE, model=""), request=facts).model_id == "m-small"
    assert read(chat(CHAT_USAGE, model="m\x00"), request=facts).model_id == "m-small"
    assert read(dump({"usage": {"tokens": {"input_tokens": 2}}}), request=facts).model_id == "m-small"


def test_a_family_s_counts_may_stand_in_the_response_headers_alone() -> None:
    headers = [
        (b"X-Amzn-Bedrock-Input-Token-Count", b"4"),
        (b"x-amzn-bedrock-output-token-count", b"9"),
        (b"x-amzn-bedrock-cache-read-input-token-count", b"70"),
        (b"x-amzn-bedrock-cache-write-input-token-count", b"many"),
    ]
    reading = read(dump({"outputs": [{"text": "Nine."}]}), headers=headers)
    assert (reading.state, use_of(reading)) == ("reported", (74, 9, 70, 0, 0))
    body = dump({"type": "message", "content": [], "usage": K2_START})
    assert use_of(read(body, headers=headers)) == (107, 1, 90, 7, 0), "the body knows better"


def test_loading_a_model_into_memory_is_no_use() -> None:
    reading = read(lines({"model": "l3", "response": "", "done": True, "done_reason": "load"}))
    assert (reading.state, reading.billable) == ("not_reported", False)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "8", True, [8], 1e300])
def test_seconds_that_are_none_are_not_believed(seconds: object) -> None:
    reading = read(dump({"text": "nine", "usage": {"type": "duration", "seconds": seconds}}))
    assert (reading.state, dict(reading.units)) == ("unreadable", {})


def test_a_cohere_stream_of_lines_that_is_cut_between_them_has_not_ended() -> None:
    reading = read(lines({"event_type": "stream-start"}, {"event_type": "text-generation", "text": "Nine"}))
    assert (reading.state, reading.ended, reading.seen_text_bytes) == ("not_reported", False, 4)


def test_an_unfinished_line_of_a_stream_of_lines_leaves_it_open() -> None:
    reading = read(lines({"model": "l3", "response": "Ni", "done": False}))
    assert (reading.state, reading.ended, reading.seen_text_bytes) == ("not_reported", False, 2)


def test_events_of_several_apis_in_one_answer_are_summed() -> None:
    transcription = {"text": "nine", "usage": {"type": "duration", "seconds": 8.4}}
    ranking = {"results": [], "meta": {"billed_units": {"search_units": 1}}}
    reading = read(lines(transcription, json.loads(chat(CHAT_USAGE)), ranking, transcription))
    assert use_of(reading) == (40, 25, 32, 4, 20)
    assert dict(reading.units) == {"seconds": 18, "search_units": 1}


def test_a_flat_zero_does_not_hide_what_the_details_say() -> None:
    usage = {**CHAT_USAGE, "cached_tokens": 0, "cache_creation_input_tokens": 0, "reasoning_tokens": 0}
    assert use_of(read(chat(usage))) == (40, 25, 32, 4, 20)


def test_a_total_alone_is_enough_for_the_count_that_is_missing() -> None:
    assert use_of(read(chat({"prompt_tokens": 40, "total_tokens": 65})))[:2] == (40, 25)
    assert use_of(read(chat({"completion_tokens": 25, "total_tokens": 65})))[:2] == (40, 25)


def test_gemini_s_interactions_are_streamed_too() -> None:
    interaction = {"id": "interaction-1", "model": "g-3", "usage": {"total_input_tokens": 7, "total_output_tokens": 2}}
    body = sse(
        {"event_type": "interaction.start", "interaction": {"id": "interaction-1"}},
        {"event_type": "content.delta", "delta": {"type": "text", "text": "Nine"}},
        {"event_type": "interaction.complete", "interaction": interaction},
    )
    reading = read(body)
    assert (reading.state, use_of(reading), reading.model_id) == ("reported", (7, 2, 0, 0, 0), "g-3")
    assert (reading.ended, reading.seen_text_bytes) == (True, 4)


def test_text_is_found_wherever_an_api_puts_it() -> None:
    streams = (
        sse(chat_chunk({"reasoning_content": "ab", "refusal": "c", "function_call": {"arguments": "de"}})),
        sse(chat_chunk({"content": [{"type": "text", "text": "abc"}, "de", 5]})),
        sse({"choices": [{"index": 0, "text": "abcde"}]}),
        sse({"type": "content_block_delta", "delta": {"thinking": "abc", "partial_json": "de"}}),
        sse({"type": "response.reasoning_text.delta", "delta": "abcde"}),
        sse({"type": "response.audio.delta", "delta": "QUJD"}, {"type": "response.refusal.delta", "delta": "abcde"}),
        sse({"type": "transcript.text.delta", "delta": "abcde"}),
        dump({"text": "abcde", "usage": {"type": "tokens", "input_tokens": 2}}),
        dump({"text": "abcde", "meta": {"tokens": {}}}),
        sse({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "abcde"}}}),
        sse({"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": "abcde"}}}}}),
        lines({"done": False, "message": {"content": "abc", "thinking": "de"}}),
        lines({"done": False, "response": "abc", "thinking": "de"}),
        sse(gemini("ab", None), gemini("cde", None)),
        sse(agent_event("abcde")),
        sse({"contentBlockDelta": {"delta": {"toolUse": {"input": "abc"}, "reasoningContent": {"text": "de"}}}}),
        sse(agent_event("ab", partial=True), agent_event("cde", partial=True), agent_event("abcde")),
        chunk_frame({"outputText": "abcde", "index": 0, "inputTextTokenCount": None}),
    )
    for body in streams:
        assert read(body).seen_text_bytes == 5, body


def test_a_wrapper_of_the_app_s_own_may_pass_the_usage_object_on() -> None:
    cached = {"answer": "Nine.", "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 4}}
    plain = {"answer": "Nine.", "usage": {"input_tokens": 10, "output_tokens": 4}}
    chat_like = {"answer": "Nine.", "model": "m-small", "usage": {"prompt_tokens": 10, "completion_tokens": 4}}
    assert use_of(read(dump(cached))) == (100, 4, 90, 0, 0)
    assert use_of(read(dump({**plain, "stop_reason": "end_turn"}))) == (10, 4, 0, 0, 0)
    assert use_of(read(dump(plain))) == (10, 4, 0, 0, 0)
    assert use_of(read(dump(chat_like))) == (10, 4, 0, 0, 0)


def test_calls_with_ids_of_their_own_are_summed() -> None:
    message = {"type": "message", "content": [], "usage": {"input_tokens": 10, "output_tokens": 4}}
    messages = lines({**message, "id": "msg_0001"}, {**message, "id": "msg_0002"}, {**message, "id": "msg_0002"})
    assert use_of(read(messages))[:2] == (20, 8)
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 2}
    events = sse(*(gemini("Nine", usage, responseId=call) for call in ("g-1", "g-1", "g-2")))
    assert use_of(read(events))[:2] == (18, 4)
    answers = sse(*(response({"input_tokens": 5, "output_tokens": 1}, id=f"resp_{n}") for n in (1, 1, 2)))
    assert use_of(read(answers))[:2] == (10, 2)


def test_an_older_gemini_stream_has_no_ids_and_is_one_call() -> None:
    first = {"candidates": [{"content": {"parts": [{"text": "Ni"}]}}], "usageMetadata": {"promptTokenCount": 9}}
    last = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}, "modelVersion": "g-1"}
    assert use_of(read(sse(first, last, last)))[:2] == (9, 2)


def test_an_empty_usage_object_states_nothing() -> None:
    empty = (
        dump({"candidates": [], "usageMetadata": {}}),
        dump({"type": "message", "content": [], "usage": {}}),
        dump(response({})),
        dump({"output": {}, "stopReason": "end_turn", "usage": {}}),
        dump({"message": {}, "usage": {"billed_units": {}}}),
        dump({"object": "list", "data": [], "usage": {"total_tokens": None}}),
        dump({"model": "l3", "response": "Nine", "done": True}),
        sse({"amazon-bedrock-invocationMetrics": {}}),
        sse({"event_type": "interaction.complete", "interaction": {"usage": {}}}),
    )
    for body in empty:
        reading = read(body)
        assert (reading.state, reading.dialect is not None) == ("not_reported", True), body


def test_looking_at_an_open_object_leaves_no_trace() -> None:
    reader = AnswerReader(method="POST", path="/", status=200, content_type=None, content_encoding=None)
    reader.feed(b'{"choices": [], "usage": {"prompt_tokens": 9, "cached_tokens": 4}')
    assert reader.finish().cached_tokens_in == 4
    reader.feed(b', "usage": {"prompt_tokens": 9, "completion_tokens": 1}}')
    assert use_of(reader.finish()) == (9, 1, 0, 0, 0)
