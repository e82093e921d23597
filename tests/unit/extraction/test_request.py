"""What a request asks for, and how much it can cost at most."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.extraction.request import LARGEST_LIMIT, MEDIA_TOKENS, RequestFacts, read_request

JSON = b"application/json"
CHAT = "/v1/chat/completions"


def ask(body: object, path: str = CHAT) -> RequestFacts:
    return read_request("POST", path, JSON, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        (CHAT, {"model": "m-small"}, "m-small"),
        ("/v1/messages", {"model": "k-2"}, "k-2"),
        ("/v1beta/models/g-3:generateContent", {"contents": []}, "g-3"),
        ("/v1beta/models/g-3:streamGenerateContent?alt=sse", {}, "g-3"),
        ("/v1/projects/p/locations/l/publishers/google/models/g-3:countTokens", {}, "g-3"),
        ("/v1beta/tunedModels/own-1:generateContent", {}, "own-1"),
        ("/v1beta/models/e-1:embedContent", {"model": "models/e-1"}, "e-1"),
        ("/model/k-2-v1%3A0/converse", {}, "k-2-v1:0"),
        ("/model/arn:aws:bedrock:eu:1:inference-profile/k-2/invoke", {}, "arn:aws:bedrock:eu:1:inference-profile/k-2"),
        ("/model/k-2/invoke", {"model": "other"}, "k-2"),
        ("/openai/deployments/d-5/chat/completions", {"messages": []}, "d-5"),
        ("/openai/deployments/d-5/chat/completions", {"model": "m-small"}, "m-small"),
        (CHAT, {"model": ""}, None),
        (CHAT, {"model": "m" * 256}, None),
        (CHAT, {"model": "m\n"}, None),
        (CHAT, {"model": ["m"]}, None),
        (CHAT, {}, None),
        ("/v1/models/m-small", {}, None),
        ("/v1beta/models/:generateContent", {"model": "m"}, None),
    ],
)  # fmt: skip
def test_the_model_is_in_the_body_or_in_the_path(path: str, body: object, model: str | None) -> None:
    assert ask(body, path).model_id == model


def test_the_model_of_a_form_is_one_of_its_fields() -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n\xff\xfb'
        b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\n\r\nw-1\r\n--x--\r\n'
    )
    facts = read_request("POST", "/v1/audio/transcriptions", b"Multipart/Form-Data; boundary=x", form)
    assert (facts.model_id, facts.tokens_in_bound, facts.tokens_out_bound) == ("w-1", len(form), None)
    assert read_request("POST", "/", b"multipart/form-data", b"--x--").model_id is None


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 100}, 100),
        ({"max_tokens": 50, "max_completion_tokens": 100}, 100),
        ({"max_output_tokens": 100}, 100),
        ({"generationConfig": {"maxOutputTokens": 100}}, 100),
        ({"generation_config": {"max_output_tokens": 100}}, 100),
        ({"inferenceConfig": {"maxTokens": 100}}, 100),
        ({"textGenerationConfig": {"maxTokenCount": 100}}, 100),
        ({"options": {"num_predict": 100}}, 100),
        ({"max_gen_len": 100}, 100),
        ({"max_tokens": 100, "n": 3}, 300),
        ({"max_tokens": 100, "n": 2, "best_of": 5}, 500),
        ({"generationConfig": {"maxOutputTokens": 100, "candidateCount": 4}}, 400),
        ({"max_tokens": 100, "prompt": ["one", "two", "three"]}, 300),
        ({"max_tokens": 100, "prompt": [[1, 2], [3]], "n": 2}, 400),
        ({"max_tokens": 100, "prompt": [17, 4, 9]}, 100),
        ({"max_tokens": 100, "prompt": "one"}, 100),
        ({"max_tokens": LARGEST_LIMIT}, LARGEST_LIMIT),
        ({"max_tokens": LARGEST_LIMIT + 1}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": "100"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 100, "n": 0}, 100),
        ({"max_tokens": 100, "n": "3"}, 100),
        ({"options": {"num_predict": -1}}, None),
        ({"options": [5]}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_output_is_bound_by_the_limit_for_each_answer_asked_for(body: object, bound: int | None) -> None:
    assert ask(body).tokens_out_bound == bound


@pytest.mark.parametrize(
    ("path", "body", "stream"),
    [
        (CHAT, {"stream": True}, True),
        (CHAT, {"stream": False}, False),
        (CHAT, {"stream": "true"}, False),
        (CHAT, {}, False),
        ("/v1beta/models/g-3:streamGenerateContent", {}, True),
        ("/model/k-2/converse-stream", {}, True),
        ("/model/k-2/invoke-with-response-stream", {}, True),
        ("/api/chat", {"model": "l3"}, True),
        ("/api/generate", {"model": "l3", "stream": False}, False),
    ],
)
def test_a_stream_is_asked_for_by_body_path_or_default(path: str, body: object, stream: bool) -> None:
    assert ask(body, path).stream is stream


def test_the_input_is_bound_by_the_bytes_of_the_body() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "häufig"}]}, ensure_ascii=False).encode()
    assert read_request("POST", CHAT, JSON, body).tokens_in_bound == len(body)


def test_a_body_too_large_to_hold_is_read_the_same() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 200_000}], "model": "m-small", "max_tokens": 9, "n": 2}
    facts = ask(body)
    assert (facts.model_id, facts.tokens_out_bound, facts.stream) == ("m-small", 18, False)
    prompts = ask({"prompt": ["x" * 50_000] * 3, "max_tokens": 9, "model": "m-small", "stream": True})
    assert (prompts.tokens_out_bound, prompts.stream) == (27, True)


def test_media_in_the_body_are_estimated_at_a_fixed_size() -> None:
    image = "iVBORw0KGgo" * 5_000
    for url in (f"data:image/png;base64,{image}", image):
        body = {"model": "m", "messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}
        facts = ask(body)
        assert facts.text_bytes is not None
        around = facts.tokens_in_bound - len(image)
        assert abs(facts.text_bytes - (around + 4 * MEDIA_TOKENS)) <= 1_024


def test_characters_that_are_spelt_out_are_estimated_as_what_they_are() -> None:
    body = json.dumps({"prompt": "é中" * 50}).encode()  # six bytes each as \uXXXX, taken for three
    facts = read_request("POST", CHAT, JSON, body)
    assert facts.text_bytes == len(body) - 300


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=60), st.sampled_from([None, JSON, b"multipart/form-data", b"\xff"]))
def test_no_request_raises(body: bytes, path: str, content_type: bytes | None) -> None:
    for data in (body, b"{" + body, b'{"model": "m", ' + body):
        read_request("POST", path, content_type, data)


def test_requests_made_to_waste_time_or_stack_are_read_in_passing() -> None:
    for body in (
        b'{"a":' * 200_000,
        b'{"model": "m", "x": ' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"max_tokens": ' + b"9" * 50_000 + b"}",
        b'name="model"\r\n' * 50_000,
        (b"A" * 1_000 + b" ") * 1_000,
    ):
        facts = read_request("POST", "/models/" * 2_000 + ":x", b"multipart/form-data", body)
        assert facts.tokens_in_bound == len(body)
    deep = read_request("POST", CHAT, JSON, b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b', "model": "m"}')
    assert deep.model_id is None, "small enough to decode, and it cannot be"


def test_the_same_request_always_gives_the_same_facts() -> None:
    chance = random.Random(7)
    body = json.dumps({"model": "m", "messages": [chance.random() for _ in range(500)]}).encode()
    assert read_request("POST", CHAT, JSON, body) == read_request("POST", CHAT, JSON, body)
