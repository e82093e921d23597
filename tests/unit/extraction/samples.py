"""Answers as AI APIs give them, in our own words: small, and each with the use it states."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts

Use = tuple[int, int, int, int, int]
"""Input, output, cached input, cache write, reasoning."""


@dataclass(frozen=True)
class Sample:
    """One answer and what is to be read in it."""

    name: str
    body: bytes
    use: Use
    model: str | None
    dialect: str
    content_type: bytes | None = b"application/json"
    units: dict[str, int] = field(default_factory=dict)
    terminal: bytes | None = None
    """The frame that ends it, for streams that have one."""
    text_bytes: int | None = None


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def sse(*events: Any, end: bytes = b"\n") -> bytes:
    """Events with their data as JSON; bytes stand for themselves."""
    frames = [event if type(event) is bytes else b"data: " + dump(event) for event in events]
    return b"".join(frame + end + end for frame in frames)


def lines(*values: Any) -> bytes:
    return b"".join(dump(value) + b"\n" for value in values)


def frame(event_type: str, payload: Any, message_type: str = "event") -> bytes:
    """One frame of an AWS event stream."""
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":event-type", event_type.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", message_type.encode()),
        )
    )
    body = payload if type(payload) is bytes else dump(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def chunk_frame(event: Any) -> bytes:
    """One frame of an InvokeModel stream."""
    return frame("chunk", {"bytes": base64.b64encode(dump(event)).decode(), "p": "abc"})


def read(
    body: bytes,
    *,
    pieces: list[bytes] | None = None,
    method: str = "POST",
    path: str = "/v1/answers",
    status: int = 200,
    content_type: bytes | None = None,
    content_encoding: bytes | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
    request: RequestFacts | None = None,
) -> Reading:
    """The reading of a body, fed at once or in pieces."""
    reader = AnswerReader(
        method=method,
        path=path,
        status=status,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers or [],
        request=request,
    )
    for piece in [body] if pieces is None else pieces:
        reader.feed(piece)
    return reader.finish()


def use_of(reading: Reading) -> Use:
    return (
        reading.tokens_in,
        reading.tokens_out,
        reading.cached_tokens_in,
        reading.cache_write_tokens_in,
        reading.reasoning_tokens_out,
    )


DONE = b"data: [DONE]"


def chat_chunk(delta: dict[str, Any] | None, usage: Any = None, finish: str | None = None, call: str = "c-1") -> Any:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": call, "object": "chat.completion.chunk", "model": "m-small-1", "choices": choices, "usage": usage}


CHAT_USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 25,
    "total_tokens": 65,
    "prompt_tokens_details": {"cached_tokens": 32, "cache_write_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20},
}


def chat(usage: Any, **more: Any) -> bytes:
    message = {"role": "assistant", "content": "Nine o'clock."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return dump(
        {"id": "c-1", "object": "chat.completion", "model": "m-small-1", "choices": [choice], "usage": usage, **more}
    )


def message_start(usage: Any, call: str = "msg_0001") -> Any:
    return {"type": "message_start", "message": {"id": call, "type": "message", "model": "k-2", "usage": usage}}


def text_delta(text: str) -> Any:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def message_delta(usage: Any) -> Any:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


MESSAGE_STOP = {"type": "message_stop"}
K2_START = {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 7, "output_tokens": 1}


def response(usage: Any, **more: Any) -> Any:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "At nine."}]}]
    return {"id": "resp_0001", "object": "response", "model": "r-5", "output": output, "usage": usage, **more}


RESPONSE_USAGE = {
    "input_tokens": 70,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 3},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 21},
    "total_tokens": 100,
}


def gemini(text: str, usage: Any, finish: str | None = None, **more: Any) -> Any:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g-3", "responseId": "g-id-1", **more}


def agent_event(text: str, usage: Any = None, **more: Any) -> Any:
    return {
        "invocationId": "e-1",
        "author": "planner",
        "content": {"role": "model", "parts": [{"text": text}]},
        "usageMetadata": usage,
        **more,
    }


CONVERSE_USAGE = {
    "inputTokens": 11,
    "outputTokens": 23,
    "totalTokens": 140,
    "cacheReadInputTokens": 100,
    "cacheReadInputTokenCount": 100,
    "cacheWriteInputTokens": 6,
}

SAMPLES: tuple[Sample, ...] = (
    Sample("chat", chat(CHAT_USAGE), (40, 25, 32, 4, 20), "m-small-1", "openai_chat", text_bytes=13),
    Sample(
        "chat, streamed",
        sse(
            {"choices": [], "id": "", "model": "", "prompt_filter_results": []},
            chat_chunk({"role": "assistant", "content": ""}),
            b": still here",
            chat_chunk({"content": "Nine "}),
            chat_chunk({"content": "o'clock."}, finish="stop"),
            chat_chunk(None, CHAT_USAGE),
            DONE,
        ),
        (40, 25, 32, 4, 20),
        "m-small-1",
        "openai_chat",
        b"text/event-stream",
        terminal=DONE,
        text_bytes=13,
    ),
    Sample(
        "chat, a count on every chunk",
        sse(
            chat_chunk({"content": "Nine "}, {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}),
            chat_chunk(
                {"content": "o'clock."}, {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}, "stop"
            ),
            chat_chunk(None, {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}),
            DONE,
        ),
        (8, 4, 0, 0, 0),
        "m-small-1",
        "openai_chat",
        None,
        terminal=DONE,
    ),
    Sample(
        "chat, Groq says it twice",
        sse(
            chat_chunk({"content": "Nine"}),
            {
                **chat_chunk({}, {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, "stop"),
                "x_groq": {"id": "q", "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
            },
            DONE,
        ),
        (9, 2, 0, 0, 0),
        "m-small-1",
        "openai_chat",
        b"text/plain",
        terminal=DONE,
    ),
    Sample(
        "chat, Groq says it under its own key alone",
        sse(
            {
                **chat_chunk({}, None, "stop"),
                "x_groq": {"id": "q", "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_time": 0.2}},
            },
            DONE,
        ),
        (9, 2, 0, 0, 0),
        "m-small-1",
        "openai_chat",
        b"text/event-stream",
        terminal=DONE,
    ),
    Sample(
        "chat, xAI leaves the reasoning out of the output",  # 12 + 1 + 228 = 241
        chat(
            {
                "prompt_tokens": 12,
                "completion_tokens": 1,
                "total_tokens": 241,
                "completion_tokens_details": {"reasoning_tokens": 228},
            }
        ),
        (12, 229, 0, 0, 228),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, DeepSeek splits the prompt",
        chat(
            {
                "prompt_tokens": 30,
                "completion_tokens": 5,
                "total_tokens": 35,
                "prompt_cache_hit_tokens": 24,
                "prompt_cache_miss_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 24},
            }
        ),
        (30, 5, 24, 0, 0),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, Mistral's flat cached count",
        chat({"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35, "num_cached_tokens": 16}),
        (30, 5, 16, 0, 0),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, Together's flat cached count",
        chat({"prompt_tokens": 30, "completion_tokens": 5, "cached_tokens": 8}),
        (30, 5, 8, 0, 0),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, LiteLLM repeats Anthropic's names for parts of the prompt",
        chat(
            {
                "prompt_tokens": 107,
                "completion_tokens": 6,
                "total_tokens": 113,
                "prompt_tokens_details": {"cached_tokens": 90, "cache_creation_tokens": 7},
                "cache_read_input_tokens": 90,
                "cache_creation_input_tokens": 7,
            }
        ),
        (107, 6, 90, 7, 0),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, a cache write under the details alone",
        chat(
            {
                "prompt_tokens": 30,
                "completion_tokens": 5,
                "total_tokens": 35,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 7},
            }
        ),
        (30, 5, 0, 7, 0),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, OpenRouter with more reasoning than output, and its money",
        chat(
            {
                "prompt_tokens": 4,
                "completion_tokens": 10,
                "total_tokens": 14,
                "cost": 0.25,
                "completion_tokens_details": {"reasoning_tokens": 11},
            }
        ),
        (4, 10, 0, 0, 10),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "chat, Perplexity's deep research",  # 12 + 300 + 40 = 352 out
        chat(
            {
                "prompt_tokens": 5,
                "completion_tokens": 12,
                "total_tokens": 17,
                "reasoning_tokens": 300,
                "citation_tokens": 40,
            }
        ),
        (5, 352, 0, 0, 300),
        "m-small-1",
        "openai_chat",
    ),
    Sample(
        "legacy completion",
        dump(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "model": "old-2",
                "choices": [{"text": "Nine", "index": 0, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 16, "total_tokens": 19},
            }
        ),
        (3, 16, 0, 0, 0),
        "old-2",
        "openai_chat",
        text_bytes=4,
    ),
    Sample(
        "two chat calls of an agent",  # 5 + 9 in, 2 + 3 out
        sse(
            chat_chunk({"content": "Look"}, call="c-1"),
            chat_chunk({}, finish="tool_calls", call="c-1"),
            chat_chunk(None, {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, call="c-1"),
            chat_chunk({"role": "assistant", "content": "Nine"}, call="c-2"),
            chat_chunk({}, finish="stop", call="c-2"),
            chat_chunk(None, {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, call="c-2"),
            DONE,
        ),
        (14, 5, 0, 0, 0),
        "m-small-1",
        "openai_chat",
        b"text/event-stream",
        terminal=DONE,
    ),
    Sample("response", dump(response(RESPONSE_USAGE)), (70, 30, 60, 3, 21), "r-5", "openai_responses", text_bytes=8),
    Sample(
        "response, streamed with an image in between",
        sse(
            {"type": "response.created", "response": response(None, output=[])},
            {"type": "response.output_text.delta", "delta": "At ", "item_id": "i"},
            {"type": "response.output_text.delta", "delta": "nine.", "item_id": "i"},
            {"type": "response.image_generation_call.partial_image", "partial_image_b64": "QUJD" * 25_000},
            {"type": "response.output_text.done", "text": "At nine."},
            {
                "type": "response.completed",
                "response": response(RESPONSE_USAGE, tools=[{"usage": {"input_tokens": 9}}]),
            },
        ),
        (70, 30, 60, 3, 21),
        "r-5",
        "openai_responses",
        b"text/event-stream",
        terminal=b'"type": "response.completed"',
        text_bytes=8,
    ),
    Sample(
        "response that stopped early and states zeros",
        sse({"type": "response.incomplete", "response": response({"input_tokens": 0, "output_tokens": 0})}),
        (0, 0, 0, 0, 0),
        "r-5",
        "openai_responses",
        terminal=b'"type": "response.incomplete"',
    ),
    Sample(
        "embeddings",
        dump(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
                "model": "e-3",
                "usage": {"prompt_tokens": 6, "total_tokens": 6},
            }
        ),
        (6, 0, 0, 0, 0),
        "e-3",
        "openai_other",
    ),
    Sample(
        "Mistral's embeddings",
        dump(
            {
                "object": "list",
                "data": [],
                "model": "e-4",
                "usage": {"prompt_tokens": 6, "total_tokens": 6, "completion_tokens": 0},
            }
        ),
        (6, 0, 0, 0, 0),
        "e-4",
        "openai_other",
    ),
    Sample(
        "images",
        dump(
            {
                "created": 17,
                "data": [{"b64_json": "QUJD" * 30_000}],
                "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210},
            }
        ),
        (50, 4160, 0, 0, 0),
        None,
        "openai_other",
    ),
    Sample(
        "images, streamed",
        sse(
            {"type": "image_generation.partial_image", "b64_json": "QUJD", "partial_image_index": 0},
            {
                "type": "image_generation.completed",
                "b64_json": "QUJD",
                "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210},
            },
        ),
        (50, 4160, 0, 0, 0),
        None,
        "openai_other",
        b"text/event-stream",
        terminal=b'"type": "image_generation.completed"',
        text_bytes=0,
    ),
    Sample(
        "transcription by tokens",
        dump(
            {"text": "nine", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}}
        ),
        (14, 45, 0, 0, 0),
        None,
        "openai_other",
    ),
    Sample(
        "transcription by the second",
        dump({"text": "nine", "usage": {"type": "duration", "seconds": 8.4}}),
        (0, 0, 0, 0, 0),
        None,
        "openai_other",
        units={"seconds": 9},
    ),
    Sample(
        "transcription, streamed",
        sse(
            {"type": "transcript.text.delta", "delta": "ni"},
            {"type": "transcript.text.delta", "delta": "ne"},
            {
                "type": "transcript.text.done",
                "text": "nine",
                "usage": {"type": "tokens", "input_tokens": 4, "output_tokens": 2},
            },
        ),
        (4, 2, 0, 0, 0),
        None,
        "openai_other",
        b"text/event-stream",
        terminal=b'"type": "transcript.text.done"',
    ),
    Sample(
        "message",  # 10 + 90 + 7 = 107 in
        dump(
            {
                "id": "msg_0001",
                "type": "message",
                "role": "assistant",
                "model": "k-2",
                "content": [{"type": "text", "text": "Nine."}],
                "stop_reason": "end_turn",
                "usage": {**K2_START, "output_tokens": 12, "cache_creation": {"ephemeral_5m_input_tokens": 7}},
            }
        ),
        (107, 12, 90, 7, 0),
        "k-2",
        "anthropic",
        text_bytes=5,
    ),
    Sample(
        "message, streamed",  # the delta's output replaces the start's
        sse(
            b"event: message_start\ndata: " + dump(message_start(K2_START)),
            {"type": "ping"},
            text_delta("Ni"),
            text_delta("ne."),
            message_delta({"output_tokens": 12, "output_tokens_details": {"thinking_tokens": 5}}),
            b"event: message_stop\ndata: " + dump(MESSAGE_STOP),
        ),
        (107, 12, 90, 7, 5),
        "k-2",
        "anthropic",
        b"text/event-stream",
        terminal=dump(MESSAGE_STOP),
        text_bytes=5,
    ),
    Sample(
        "message, streamed, the delta corrects the input",  # 43 becomes 61
        sse(
            message_start({"input_tokens": 43, "output_tokens": 1}),
            message_delta({"input_tokens": 61, "cache_read_input_tokens": 0, "output_tokens": 2}),
            MESSAGE_STOP,
        ),
        (61, 2, 0, 0, 0),
        "k-2",
        "anthropic",
        b"text/event-stream",
        terminal=dump(MESSAGE_STOP),
    ),
    Sample(
        "message, LiteLLM states everything at the end",
        sse(
            message_start({"input_tokens": 0, "output_tokens": 0}),
            text_delta("Nine."),
            message_delta({"input_tokens": 20, "output_tokens": 3}),
            MESSAGE_STOP,
        ),
        (20, 3, 0, 0, 0),
        "k-2",
        "anthropic",
        terminal=dump(MESSAGE_STOP),
    ),
    Sample(
        "message, a retry spliced in",  # 10 + 10 in; 1 of the try that broke off, 6 of the other
        sse(
            message_start({"input_tokens": 10, "output_tokens": 1}, "msg_0001"),
            text_delta("Ni"),
            message_start({"input_tokens": 10, "output_tokens": 1}, "msg_0002"),
            text_delta("Nine."),
            message_delta({"output_tokens": 6}),
            MESSAGE_STOP,
        ),
        (20, 7, 0, 0, 0),
        "k-2",
        "anthropic",
        b"text/event-stream",
        terminal=dump(MESSAGE_STOP),
    ),
    Sample(
        "message, the same start twice",
        sse(
            message_start({"input_tokens": 10, "output_tokens": 1}),
            message_start({"input_tokens": 10, "output_tokens": 1}),
            message_delta({"output_tokens": 6}),
            MESSAGE_STOP,
        ),
        (10, 6, 0, 0, 0),
        "k-2",
        "anthropic",
        b"text/event-stream",
        terminal=dump(MESSAGE_STOP),
    ),
    Sample(
        "message with a compaction outside its counts",  # 220 + 55,000 in, 30 + 900 out
        dump(
            {
                "id": "msg_0001",
                "type": "message",
                "model": "k-2",
                "content": [],
                "usage": {
                    "input_tokens": 220,
                    "output_tokens": 30,
                    "iterations": [
                        {"type": "compaction", "input_tokens": 55_000, "output_tokens": 900},
                        {"type": "message", "input_tokens": 220, "output_tokens": 30},
                    ],
                },
            }
        ),
        (55_220, 930, 0, 0, 0),
        "k-2",
        "anthropic",
    ),
    Sample(
        "Gemini with thoughts, tools and a cache",  # 75 + 573 in, 414 + 117 out
        dump(
            gemini(
                "Nine.",
                {
                    "promptTokenCount": 75,
                    "cachedContentTokenCount": 60,
                    "toolUsePromptTokenCount": 573,
                    "candidatesTokenCount": 414,
                    "thoughtsTokenCount": 117,
                    "totalTokenCount": 1179,
                    "promptTokensDetails": [{"modality": 1, "tokenCount": 75}],
                },
                "STOP",
            )
        ),
        (648, 531, 60, 0, 117),
        "g-3",
        "gemini",
    ),
    Sample(
        "Gemini, streamed with CRLF",
        sse(
            gemini("Ni", {"promptTokenCount": 10, "totalTokenCount": 10}),
            gemini("ne.", {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}, "STOP"),
            end=b"\r\n",
        ),
        (9, 4, 0, 0, 0),
        "g-3",
        "gemini",
        b"text/event-stream",
    ),
    Sample(
        "Gemini, a list in pieces",
        b"["
        + json.dumps(gemini("Ni", {"promptTokenCount": 9}), indent=2).encode()
        + b"\r\n,"
        + json.dumps(gemini("ne.", {"candidatesTokenCount": 4, "totalTokenCount": 13}, "STOP"), indent=2).encode()
        + b"\r\n]",
        (9, 4, 0, 0, 0),
        "g-3",
        "gemini",
    ),
    Sample(
        "Gemini refuses the prompt",
        dump(
            {
                "promptFeedback": {"blockReason": "SAFETY"},
                "usageMetadata": {"promptTokenCount": 14, "totalTokenCount": 14},
            }
        ),
        (14, 0, 0, 0, 0),
        None,
        "gemini",
    ),
    Sample(
        "agent events, one call each",  # 10 + 30 in, 2 + 6 out
        sse(
            agent_event("Look", {"promptTokenCount": 10, "candidatesTokenCount": 1}, partial=True),
            agent_event("Look up", {"promptTokenCount": 10, "candidatesTokenCount": 2}),
            agent_event("", None),
            agent_event("Nine.", {"promptTokenCount": 30, "candidatesTokenCount": 5, "thoughtsTokenCount": 1}),
        ),
        (40, 8, 0, 0, 1),
        None,
        "gemini",
        b"text/event-stream",
    ),
    Sample(
        "agent events in a list",
        dump(
            [
                agent_event("Look", {"promptTokenCount": 10, "candidatesTokenCount": 2}),
                agent_event("Nine.", {"promptTokenCount": 30, "candidatesTokenCount": 5}),
            ]
        ),
        (40, 7, 0, 0, 0),
        None,
        "gemini",
    ),
    Sample(
        "Gemini's interactions",  # 7 in, 19 + 32 out
        dump(
            {
                "id": "interaction-1",
                "model": "g-3",
                "usage": {
                    "total_input_tokens": 7,
                    "total_output_tokens": 19,
                    "total_thought_tokens": 32,
                    "total_tokens": 58,
                },
            }
        ),
        (7, 51, 0, 0, 32),
        "g-3",
        "gemini",
    ),
    Sample(
        "Converse",  # 11 + 100 + 6 in
        dump(
            {
                "output": {"message": {"role": "assistant", "content": [{"text": "Nine."}]}},
                "stopReason": "end_turn",
                "trace": {"guardrail": {"usage": {"topicPolicyUnits": 1}}},
                "usage": CONVERSE_USAGE,
            }
        ),
        (117, 23, 100, 6, 0),
        None,
        "bedrock",
        text_bytes=5,
    ),
    Sample(
        "Converse, where the cached input is already inside",  # the total is 111 + 23
        dump(
            {
                "output": {},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 111, "outputTokens": 23, "totalTokens": 134, "cacheReadInputTokens": 100},
            }
        ),
        (111, 23, 100, 0, 0),
        None,
        "bedrock",
    ),
    Sample(
        "Converse, streamed",
        frame("messageStart", {"role": "assistant"})
        + frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Nine."}, "p": "abcdef"})
        + frame("messageStop", {"stopReason": "end_turn"})
        + frame("metadata", {"metrics": {"latencyMs": 5}, "usage": CONVERSE_USAGE}),
        (117, 23, 100, 6, 0),
        None,
        "bedrock",
        b"application/vnd.amazon.eventstream",
        terminal=frame("metadata", {"metrics": {"latencyMs": 5}, "usage": CONVERSE_USAGE}),
        text_bytes=5,
    ),
    Sample(
        "InvokeModel, streamed, Anthropic's own events",  # the metrics know the uncached 10 only
        chunk_frame(message_start(K2_START))
        + chunk_frame(text_delta("Nine."))
        + chunk_frame(message_delta({"output_tokens": 12}))
        + chunk_frame(
            {**MESSAGE_STOP, "amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 12}}
        ),
        (107, 12, 90, 7, 0),
        "k-2",
        "anthropic",
        None,
        terminal=chunk_frame(
            {**MESSAGE_STOP, "amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 12}}
        ),
    ),
    Sample(
        "InvokeModel, streamed, a family that states nothing itself",
        chunk_frame({"outputs": [{"text": "Nine."}]})
        + chunk_frame(
            {"outputs": [], "amazon-bedrock-invocationMetrics": {"inputTokenCount": 8, "outputTokenCount": 3}}
        ),
        (8, 3, 0, 0, 0),
        None,
        "bedrock",
        b"application/vnd.amazon.eventstream",
    ),
    Sample(
        "InvokeModel, Titan",  # 4 + 6 out
        dump(
            {
                "inputTextTokenCount": 9,
                "results": [{"tokenCount": 4, "outputText": "Nine"}, {"tokenCount": 6, "outputText": "Ten"}],
            }
        ),
        (9, 10, 0, 0, 0),
        None,
        "bedrock",
        text_bytes=7,
    ),
    Sample(
        "InvokeModel, Llama",
        dump({"generation": "Nine.", "prompt_token_count": 9, "generation_token_count": 3, "stop_reason": "stop"}),
        (9, 3, 0, 0, 0),
        None,
        "bedrock",
    ),
    Sample(
        "Cohere v2",
        dump(
            {
                "id": "x",
                "message": {"role": "assistant", "content": [{"type": "text", "text": "Nine."}]},
                "usage": {
                    "billed_units": {"input_tokens": 12, "output_tokens": 4},
                    "tokens": {"input_tokens": 212, "output_tokens": 5},
                    "cached_tokens": 208,
                },
            }
        ),
        (12, 4, 0, 0, 0),
        None,
        "cohere",
        text_bytes=5,
    ),
    Sample(
        "Cohere v2, only what the model saw",
        dump({"usage": {"tokens": {"input_tokens": 212, "output_tokens": 5}, "cached_tokens": 208}}),
        (212, 5, 208, 0, 0),
        None,
        "cohere",
    ),
    Sample(
        "Cohere v2, streamed",
        sse(
            {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Nine."}}}},
            {"type": "message-end", "delta": {"usage": {"billed_units": {"input_tokens": 12, "output_tokens": 4}}}},
            DONE,
        ),
        (12, 4, 0, 0, 0),
        None,
        "cohere",
        b"text/event-stream",
        terminal=b'"type": "message-end"',
        text_bytes=5,
    ),
    Sample(
        "Cohere v1, streamed in lines",
        lines(
            {"is_finished": False, "event_type": "stream-start"},
            {"is_finished": False, "event_type": "text-generation", "text": "Nine."},
            {
                "is_finished": True,
                "event_type": "stream-end",
                "response": {"text": "Nine.", "meta": {"billed_units": {"input_tokens": 12, "output_tokens": 4}}},
            },
        ),
        (12, 4, 0, 0, 0),
        None,
        "cohere",
        b"application/stream+json",
        terminal=b'"event_type": "stream-end"',
        text_bytes=5,
    ),
    Sample(
        "Cohere rerank",
        dump({"results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}),
        (0, 0, 0, 0, 0),
        None,
        "cohere",
        units={"search_units": 1},
    ),
    Sample(
        "Cohere embed",
        dump({"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 8, "image_tokens": 2}}}),
        (10, 0, 0, 0, 0),
        None,
        "cohere",
    ),
    Sample(
        "Ollama",
        dump(
            {
                "model": "l3",
                "message": {"role": "assistant", "content": "Nine."},
                "done": True,
                "prompt_eval_count": 17,
                "prompt_eval_cached_count": 12,
                "eval_count": 3,
            }
        ),
        (17, 3, 12, 0, 0),
        "l3",
        "ollama",
        text_bytes=5,
    ),
    Sample(
        "Ollama, in lines",
        lines(
            {"model": "l3", "response": "Ni", "done": False},
            {"model": "l3", "response": "ne.", "done": False},
            {"model": "l3", "response": "", "done": True, "prompt_eval_count": 17, "eval_count": 3},
        ),
        (17, 3, 0, 0, 0),
        "l3",
        "ollama",
        b"application/x-ndjson",
        terminal=b'"done": true',
        text_bytes=5,
    ),
    Sample(
        "Ollama, an old server with the prompt in its cache",
        dump({"model": "l3", "response": "Nine.", "done": True, "eval_count": 3}),
        (0, 3, 0, 0, 0),
        "l3",
        "ollama",
    ),
    Sample(
        "Ollama embed",
        dump({"model": "l3", "embeddings": [[0.5, 0.25]], "prompt_eval_count": 6}),
        (6, 0, 0, 0, 0),
        "l3",
        "ollama",
    ),
    Sample(
        "Voyage",
        dump({"object": "list", "data": [], "model": "v-3", "usage": {"total_tokens": 21}}),
        (21, 0, 0, 0, 0),
        "v-3",
        "voyage",
    ),
)
STREAMS = tuple(sample for sample in SAMPLES if sample.terminal is not None)
DOCUMENTS = tuple(sample for sample in SAMPLES if sample.body.startswith(b"{") and b"\n" not in sample.body)
