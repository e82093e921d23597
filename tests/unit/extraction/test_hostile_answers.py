"""Nothing that goes by can raise, run away with memory or time, or be believed where it is no count."""

from __future__ import annotations

import gc
import gzip
import json
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.dialects import DIALECTS
from tollkeeper.extraction.strict import MAX_COUNT
from unit.extraction.samples import (
    CHAT_USAGE,
    DONE,
    K2_START,
    SAMPLES,
    Sample,
    chat,
    chat_chunk,
    dump,
    frame,
    message_delta,
    message_start,
    read,
    response,
    sse,
    use_of,
)


@pytest.mark.parametrize(
    "count",
    ["-1", "1.0", "1e3", "true", '"12"', "NaN", "Infinity", "[1]", "{}", str(MAX_COUNT + 1), "9" * 5_000],
    ids=lambda count: count[:12],
)
@pytest.mark.parametrize("padding", ["", "x" * 70_000], ids=["held", "scanned"])
def test_what_is_no_count_is_not_believed_and_the_others_are_kept(count: str, padding: str) -> None:
    text = json.dumps({"padding": padding, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": "COUNT"}})
    reading = read(text.replace('"COUNT"', count).encode())
    assert (reading.state, reading.tokens_in, reading.tokens_out) == ("unreadable", 7, 0)


def test_the_largest_count_is_believed_but_no_sum_past_it() -> None:
    assert read(chat({"prompt_tokens": MAX_COUNT, "completion_tokens": 0})).tokens_in == MAX_COUNT
    usage = {"input_tokens": MAX_COUNT, "cache_read_input_tokens": 1, "output_tokens": 1}
    reading = read(dump({"type": "message", "usage": usage}))
    assert (reading.state, reading.tokens_in) == ("unreadable", 0)


def test_a_later_count_mends_one_that_could_not_be_believed() -> None:
    chunks = [chat_chunk(None, {"prompt_tokens": -4, "completion_tokens": 2}), chat_chunk(None, CHAT_USAGE), DONE]
    assert use_of(read(sse(*chunks))) == (40, 25, 32, 4, 20)


@pytest.mark.parametrize("usage", ["none", [1], 5, True])
def test_a_usage_that_is_no_object_is_unreadable(usage: object) -> None:
    assert read(chat(usage)).state == "unreadable"
    assert read(sse(message_start(K2_START), message_delta(usage))).state == "unreadable"
    assert read(dump({"candidates": [], "usageMetadata": usage})).state == "unreadable"
    assert read(dump({"output": {}, "stopReason": "end_turn", "usage": usage})).state == "unreadable"
    assert read(dump(response(usage))).state == "unreadable"


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [}',
        b'{"choices": [], "usage": {"prompt_tokens": 5,,}}',
        b"{'choices': []}",
        b"[" * 100_000,
        b'{"choices": @' + b" " * 70_000,
        b'data: {"choices": [}\n\n',
        b'data: {"choices": []\n\ndata: {"choices": []}\n\n',
        b'{"done": false}\n{"done": fal\n{"done": false}\n',
        b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\xff\xff\xff\xff",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_broken_bodies_are_unreadable_or_cut_off_but_never_raise(body: bytes) -> None:
    reading = read(body)
    assert reading.state == ("not_reported" if body.startswith(b"[[") else "unreadable")


def test_use_that_was_stated_before_the_body_broke_is_kept() -> None:
    broken = sse(message_start(K2_START), b'data: {"type": "message_delta", "usage": {"output_tokens": 5}')
    reading = read(broken + b"\n\n")
    assert (reading.state, use_of(reading)) == ("unreadable", (107, 5, 90, 7, 0))
    reading = read(b'{"usage": {"prompt_tokens": 5, "completion_tokens": 2}, "choices": [}')
    assert (reading.state, reading.tokens_in) == ("unreadable", 5)
    reading = read(sse(chat_chunk({"content": "x"}, {"prompt_tokens": 5, "completion_tokens": 2}), b"data: {oops"))
    assert (reading.state, reading.tokens_in) == ("unreadable", 5)


def test_noise_before_the_counts_and_after_the_end_does_no_harm() -> None:
    noise = b"data: {oops"
    assert read(sse(noise, chat_chunk(None, CHAT_USAGE))).state == "reported"
    assert read(sse(noise, chat_chunk(None, CHAT_USAGE), DONE)).state == "reported"
    assert read(sse(chat_chunk(None, CHAT_USAGE), DONE, noise)).state == "reported"
    assert read(sse(noise, DONE)).state == "unreadable"


def test_a_count_of_an_earlier_call_that_cannot_be_believed_is_not_forgotten() -> None:
    calls = [message_start({"input_tokens": -5}, "msg_0001"), message_start(K2_START, "msg_0002")]
    reading = read(sse(*calls, message_delta({"output_tokens": 4})))
    assert (reading.state, reading.tokens_in, reading.tokens_out) == ("unreadable", 107, 4)


def test_a_number_cut_off_is_not_taken_for_a_smaller_one() -> None:
    reading = read(b'{"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 34')
    assert (reading.state, reading.tokens_in, reading.tokens_out) == ("not_reported", 12, 0)


def test_bytes_that_are_no_utf_8_spoil_a_text_and_nothing_else() -> None:
    for content_type in (None, b"text/event-stream"):
        body = chat(CHAT_USAGE).replace(b"Nine", b"N\xff\xfe\xc3")
        body = body if content_type is None else b"data: " + body + b"\n\n"
        assert read(body, content_type=content_type).state == "reported"


def test_text_nested_too_deep_to_decode_hides_no_use() -> None:
    deep = b"[" * 30_000 + b"]" * 30_000
    for body in (b'{"tools": ' + deep + b", " + chat(CHAT_USAGE)[1:], chat(CHAT_USAGE, logprobs=0)[:-2] + deep + b"}"):
        assert use_of(read(body)) == (40, 25, 32, 4, 20)
    content = b"[" * 900 + b"]" * 900
    assert read(b'{"choices": [{"message": {"content": ' + content + b"}}]}").seen_text_bytes == 0


PLACES = [place.split(".") for dialect in DIALECTS for place in dialect.PLACES]
KEYS = sorted({key for place in PLACES for key in place})
WORDS = [
    "message", "message_start", "message_delta", "content_block_delta", "response", "response.completed", "list",
    "response.output_text.delta", "message-end", "stream-end", "interaction.complete", "tokens", "duration", "\ud800",
]  # fmt: skip
SCALARS = [None, True, False, 0, 1, 70, 1.5, -1, 2**63, float("nan"), *WORDS]


def any_value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth == 0 or kind < 0.5:
        return chance.choice(SCALARS)
    if kind < 0.65:
        return [any_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(KEYS): any_value(chance, depth - 1) for _ in range(chance.randrange(6))}


def any_event(chance: random.Random) -> dict[str, Any]:
    """Random values under known keys, some of them at the places that are read."""
    event: dict[str, Any] = {chance.choice(KEYS): any_value(chance, 3) for _ in range(chance.randrange(4))}
    for _ in range(chance.randrange(6)):
        holder = event
        *way, last = chance.choice(PLACES)
        for key in way:
            inner = holder.get(key)
            if type(inner) is not dict:
                inner = {}
                holder[key] = chance.choice([inner, inner, [inner], [5, inner], 5])
            holder = inner
        holder[last] = any_value(chance, 1)
    return event


FORMS: dict[str, Callable[[list[dict[str, Any]], random.Random], bytes]] = {
    "a list": lambda events, _: dump(events),
    "an event stream": lambda events, _: sse(*events),
    "lines": lambda events, _: b"\n".join(dump(event) for event in events),
    "frames": lambda events, chance: b"".join(frame(chance.choice(KEYS), event) for event in events),
}


@pytest.mark.parametrize("form", FORMS)
def test_known_keys_with_any_values_never_raise_and_keep_parts_inside_their_whole(form: str) -> None:
    for seed in range(800):
        chance = random.Random(seed)
        body = FORMS[form]([any_event(chance) for _ in range(chance.randrange(1, 4))], chance)
        place = chance.randrange(len(body) + 1)
        reading = read(b"", pieces=[body[:place], body[place:]])
        assert reading == read(body), seed
        assert 0 <= reading.cached_tokens_in + reading.cache_write_tokens_in <= reading.tokens_in <= MAX_COUNT, seed
        assert 0 <= reading.reasoning_tokens_out <= reading.tokens_out <= MAX_COUNT, seed


def events_of(sample: Sample) -> list[Any]:
    """The JSON values of a sample: its body, its lines, or the data of its events."""
    is_document = sample.body.startswith((b"{", b"[")) and sample.terminal is None
    texts = [sample.body] if is_document else sample.body.replace(b"data: ", b"").splitlines()
    return [json.loads(text) for text in texts if text.startswith((b"{", b"[")) and text != b"[DONE]"]


def with_one_value_replaced(value: Any, chance: random.Random) -> Any:
    """The same value, but for one in it, at any depth, that is something else."""
    if type(value) is dict and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        return {**value, key: with_one_value_replaced(value[key], chance)}
    if type(value) is list and value and chance.random() < 0.85:
        index = chance.randrange(len(value))
        return [*value[:index], with_one_value_replaced(value[index], chance), *value[index + 1 :]]
    return chance.choice([any_value(chance, 1), [value], [5, value], {"text": value}])


TEXTUAL = [sample for sample in SAMPLES if not sample.body.startswith(b"\0") and len(sample.body) < 5_000]


@pytest.mark.parametrize("sample", TEXTUAL, ids=lambda sample: sample.name)
def test_an_answer_with_one_value_that_should_not_be_there_never_raises(sample: Sample) -> None:
    events = events_of(sample)
    for seed in range(25):
        chance = random.Random(seed)
        index = chance.randrange(len(events))
        changed = [*events[:index], with_one_value_replaced(events[index], chance), *events[index + 1 :]]
        for body in (sse(*changed), dump(changed)):
            reading = read(body)
            assert reading.cached_tokens_in + reading.cache_write_tokens_in <= reading.tokens_in
            assert reading.reasoning_tokens_out <= reading.tokens_out


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 2**32), st.sampled_from([None, b"gzip", b"deflate", b"br", b"zstd"]))
def test_answers_with_wrong_bytes_in_them_never_raise(sample: Any, seed: int, encoding: bytes | None) -> None:
    chance = random.Random(seed)
    body = bytearray(sample.body[:5_000])
    for _ in range(chance.randrange(1, 6)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    read(bytes(body), content_type=sample.content_type, content_encoding=encoding)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, b"gzip", b"br, gzip", b"deflate", b"zstd", b"x", b"br"]))
def test_any_bytes_at_all_never_raise(body: bytes, encoding: bytes | None) -> None:
    for content_type in (None, b"\xff", b"text/event-stream", b"application/vnd.amazon.eventstream"):
        read(body, content_type=content_type, content_encoding=encoding)


def endless_answers() -> Iterator[tuple[str, bytes, bytes, bytes]]:
    """Ways in which an answer can go on for ever: name, beginning, what is repeated, content type."""
    yield "embeddings", b'{"object":"list","data":[[', b"-0.0123,", b"application/json"
    yield "a long text", b'{"choices":[{"message":{"content":"', b"word\\n \\u00e9", b"application/json"
    yield "many choices", b'{"choices":[', b'{"message":{"content":"x"}},', b"application/json"
    yield "many keys", b"{", b'"usage":{"prompt_tokens":5},', b"application/json"
    yield "opening brackets", b'{"choices":', b'[{"a":', b"application/json"
    yield "a long event", b'data: {"delta":"', b"QUJD", b"text/event-stream"
    yield "an event over many lines", b"data: {", b'"a":1,\ndata: ', b"text/event-stream"
    yield "a long comment", b":", b"word ", b"text/event-stream"
    yield "many events", b"", b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', b"text/event-stream"
    yield "many calls", b"", b'data: {"type":"message_start","message":{"id":"%d"}}\n\n', b"text/event-stream"
    yield "many broken events", b"", b"data: {oops\n\n", b"text/event-stream"
    yield "a long line", b"", b'{"done": "aaaaaaaaaaaaa"', b"application/x-ndjson"
    yield "many lines", b"", b'{"response": "x", "done": false}\n', b"application/x-ndjson"
    yield (
        "many frames",
        b"",
        frame("contentBlockDelta", {"delta": {"text": "x"}}),
        b"application/vnd.amazon.eventstream",
    )
    yield "a long frame", frame("metadata", {"a": "x" * 2_000_000}), b"x", b"application/vnd.amazon.eventstream"
    yield "empty lines", b"", b"\n", b""
    yield "plain words", b"", b"word ", b"text/plain"


ENDLESS = pytest.mark.parametrize(
    ("beginning", "repeated", "content_type"),
    [pytest.param(*rest, id=name) for name, *rest in endless_answers()],
)


def held_bytes(root: object) -> int:
    """The memory of everything that hangs on an object, but for code and classes."""
    seen: set[int] = set()
    waiting, total = [root], 0
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        waiting += gc.get_referents(item)
    return total


@ENDLESS
def test_memory_is_bounded_however_long_the_answer_is(beginning: bytes, repeated: bytes, content_type: bytes) -> None:
    reader = AnswerReader(method="POST", path="/", status=200, content_type=content_type, content_encoding=None)
    reader.feed(beginning)
    piece = repeated * (16_000 // len(repeated))
    held = []
    for _ in range(3):
        for _ in range(10):
            reader.feed(piece)
        held.append(held_bytes(reader))
    assert held[2] <= held[1] + 10_000
    assert held[2] < 2_000_000


def calls_while(work: Callable[[], object]) -> int:
    """How many functions are called, Python's own included: work that does not depend on the machine."""
    counted = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@ENDLESS
@pytest.mark.parametrize("size", [1, 700])
def test_work_grows_with_the_bytes_and_not_faster(
    beginning: bytes, repeated: bytes, content_type: bytes, size: int
) -> None:
    def feed(length: int) -> Callable[[], object]:
        body = beginning[:200] + (repeated * (length // len(repeated) + 1))[:length]

        def work() -> object:
            pieces = [body[place : place + size] for place in range(0, len(body), size)]
            return read(b"", pieces=pieces, content_type=content_type)

        return work

    lengths = (2_000, 4_000, 6_000) if size == 1 else (70_000, 85_000, 100_000)
    first, second, third = (calls_while(feed(length)) for length in lengths)
    assert third - second <= 1.1 * (second - first) + 100


def test_a_gzip_bomb_is_put_down_after_a_bounded_part() -> None:
    bomb = gzip.compress(b'{"choices": [{"message": {"content": "' + b"a" * 60_000_000)
    tracemalloc.start()
    try:
        reading = read(bomb, content_encoding=b"gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reading.state == "unreadable"
    assert peak < 2_000_000


def test_a_hundred_megabytes_of_embeddings_are_read_with_little_memory() -> None:
    row = b'{"object":"embedding","embedding":[' + b",".join([b"-0.0123456789"] * 1_536) + b"]}"
    reader = AnswerReader(method="POST", path="/", status=200, content_type=None, content_encoding=None)
    tracemalloc.start()
    try:
        reader.feed(b'{"object":"list","data":[')
        for _ in range(5_000):
            reader.feed(row + b",")
        reader.feed(row + b'],"model":"e-3","usage":{"prompt_tokens":77,"total_tokens":77}}')
        reading = reader.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reading.state, reading.tokens_in, reading.model_id) == ("reported", 77, "e-3")
    assert peak < 1_000_000
