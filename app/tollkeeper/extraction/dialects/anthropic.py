"""Anthropic messages, whole and streamed, also by way of Bedrock and Vertex.

`input_tokens` leaves out both cache counts, so all input is the three added up. `message_start` knows the input and a
first handful of output tokens; `message_delta` is cumulative and may correct the input. Under `iterations`, what is not
of type `message` (compaction of the context, an advisor) was used on top of the counts beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.strict import NOT_BELIEVED, count
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "anthropic"
PATHS: tuple[str, ...] = ("/messages",)

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_THINKING: Final = "output_tokens_details.thinking_tokens"
_USAGE: Final = (*_COUNTS, _THINKING, "iterations.type", *(f"iterations.{name}" for name in _COUNTS))
PLACES: tuple[str, ...] = (
    "id",
    "type",
    "role",
    "model",
    "stop_reason",
    "content.text",
    "content.thinking",
    *(f"usage.{name}" for name in _USAGE),
    "message.id",
    "message.model",
    *(f"message.usage.{name}" for name in _USAGE),
    "delta.text",
    "delta.thinking",
    "delta.partial_json",
)

_EVENTS: Final = frozenset(
    {
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "message",
        "message_delta",
        "message_start",
        "message_stop",
        "ping",
    }
)


def claims(event: Event) -> bool:
    """An event of the messages API, or its usage under a wrapper of the app's own."""
    kind = event.get("type")
    if type(kind) is str and kind in _EVENTS:
        return True
    usage = event.get("usage")
    if type(usage) is not dict or "input_tokens" not in usage:
        return False
    return "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage or "stop_reason" in event


def take(event: Event, tally: Tally) -> None:
    """Note what one event, or a whole message, says."""
    kind = event.get("type")
    if kind == "content_block_delta":
        delta = event.get("delta")
        if type(delta) is dict:
            tally.text_bytes += sum(text_size(delta.get(name)) for name in ("text", "thinking", "partial_json"))
    elif kind == "message_start":
        _start(event.get("message"), tally)
    elif kind == "message_delta":
        if _put_usage(event.get("usage"), tally) and "output_tokens" in tally.raw:
            tally.settle()
    elif kind == "message_stop":
        tally.end()
    elif kind == "message" or type(kind) is not str or kind not in _EVENTS:
        _take_message(event, tally)


def counts(raw: Mapping[str, int]) -> Counts:
    """All input, the cached and cache-write parts added, and all output of one message."""
    cached = raw.get("cache_read_input_tokens", 0) + raw.get("extra_cache_read_input_tokens", 0)
    written = raw.get("cache_creation_input_tokens", 0) + raw.get("extra_cache_creation_input_tokens", 0)
    plain = raw.get("input_tokens", 0) + raw.get("extra_input_tokens", 0)
    tokens_out = raw.get("output_tokens", 0) + raw.get("extra_output_tokens", 0)
    return Counts(plain + cached + written, tokens_out, cached, written, raw.get("thinking", 0))


def _start(message: object, tally: Tally) -> None:
    """Begin a message: a retry spliced into the same body has another id and was used too; the same id is a repeat."""
    if type(message) is not dict:
        return
    tally.identify(message.get("id"))
    tally.name_model(message.get("model"))
    _put_usage(message.get("usage"), tally)


def _take_message(message: Event, tally: Tally) -> None:
    tally.identify(message.get("id"))
    tally.name_model(message.get("model"))
    content = message.get("content")
    if type(content) is list:
        blocks = [block for block in content if type(block) is dict]
        tally.text_bytes += sum(text_size(block.get("text")) + text_size(block.get("thinking")) for block in blocks)
    if _put_usage(message.get("usage"), tally):
        tally.settle()


def _put_usage(usage: object, tally: Tally) -> bool:
    """Note a usage object, a later value over an earlier one; False if there is none."""
    if type(usage) is not dict:
        tally.doubt = tally.doubt or usage is not None
        return False
    for name in _COUNTS:
        tally.put(name, usage.get(name))
    details = usage.get("output_tokens_details")
    if type(details) is dict:
        tally.put("thinking", details.get("thinking_tokens"))
    iterations = usage.get("iterations")
    if type(iterations) is list:
        _put_extra([step for step in iterations if type(step) is dict and step.get("type") != "message"], tally)
    return True


def _put_extra(steps: list[Event], tally: Tally) -> None:
    for name in _COUNTS:
        values = [count(step[name]) for step in steps if step.get(name) is not None]
        tally.put(f"extra_{name}", NOT_BELIEVED if NOT_BELIEVED in values else sum(values))
