"""What must not be charged although it looks like use."""

from __future__ import annotations

import pytest

from unit.extraction.samples import (
    CHAT_USAGE,
    RESPONSE_USAGE,
    chat,
    dump,
    read,
    response,
    sse,
)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_on_the_wire_is_not_read(method: str, status: int) -> None:
    reading = read(chat(CHAT_USAGE), method=method, status=status)
    assert (reading.state, reading.tokens_in, reading.billable) == ("not_reported", 0, False)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/messages/count_tokens", {"input_tokens": 14}),
        ("/v1/responses/input_tokens", {"object": "response.input_tokens", "input_tokens": 14}),
        ("/v1beta/models/g-3:countTokens", {"totalTokens": 14, "cachedContentTokenCount": 3}),
        ("/v1/models/g-3:computeTokens", {"tokensInfo": []}),
        ("/model/k-2/count-tokens", {"inputTokens": 14}),
        ("/v1/tokenize", {"tokens": [1, 2], "meta": {"billed_units": {"input_tokens": 2}}}),
        ("/own/path", {"totalTokens": 14}),
        ("/own/path", {"inputTokens": 14}),
        ("/own/path", {"object": "response.input_tokens", "input_tokens": 14}),
    ],
)
def test_a_count_of_tokens_is_not_a_use_of_them(path: str, answer: object) -> None:
    assert not read(dump(answer), path=path).billable


def test_a_count_of_tokens_under_a_path_of_the_app_s_own_states_nothing() -> None:
    reading = read(dump({"input_tokens": 14}))
    assert (reading.state, reading.tokens_in, reading.dialect) == ("not_reported", 0, None)


def test_a_poll_of_an_earlier_answer_is_not_charged_again() -> None:
    done = dump(response(RESPONSE_USAGE, status="completed"))
    assert not read(done, method="GET", path="/v1/responses/resp_0001").billable
    assert not read(done, method="POST", path="/v1/responses/resp_0001/cancel").billable
    assert read(done, method="POST", path="/v1/responses").billable
    resumed = sse({"type": "response.completed", "response": response(RESPONSE_USAGE)})
    assert not read(resumed, method="GET", path="/v1/responses/resp_0001").billable
    stored = chat(CHAT_USAGE, id="chatcmpl-77")
    assert not read(stored, method="GET", path="/v1/chat/completions/chatcmpl-77").billable
    interaction = dump({"id": "interaction-1", "usage": {"total_input_tokens": 7}})
    assert not read(interaction, method="GET", path="/v1beta/interactions/interaction-1").billable
    run = dump({"id": "run_0001", "object": "thread.run", "model": "m-1", "usage": CHAT_USAGE})
    assert not read(run, method="GET", path="/v1/threads/t/runs/run_0001").billable


def test_a_background_response_is_polled_under_any_path() -> None:
    done = dump(response(RESPONSE_USAGE, background=True, status="completed"))
    assert not read(done, method="GET", path="/jobs/5").billable


def test_an_app_may_serve_its_own_answers_by_get() -> None:
    assert read(chat(CHAT_USAGE), method="GET", path="/ask").billable
    assert read(dump(response(RESPONSE_USAGE)), method="GET", path="/ask").billable


def test_a_step_of_a_run_is_inside_the_run() -> None:
    step = dump({"id": "step_1", "object": "thread.run.step", "usage": CHAT_USAGE})
    assert read(step).tokens_in == 0


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_error_is_charged_only_for_use_that_it_states(status: int) -> None:
    error = dump({"error": {"message": "No such model", "type": "invalid_request_error"}})
    assert not read(error, status=status).billable
    assert read(chat(CHAT_USAGE), status=status).billable
