"""Cohere, both versions: chat, embed, rerank, classify.

`billed_units` is what Cohere charges for, `tokens` what the model saw with Cohere's own prompt around it; the first is
taken where it is stated. Cached tokens are a part of the second and can exceed the first, so they count only beside it.
Rerank states search units and no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "cohere"
PATHS: tuple[str, ...] = ("/v1/chat", "/v2/chat", "/v1/embed", "/v2/embed", "/v1/rerank", "/v2/rerank", "/v1/classify")

_UNITS: Final = ("search_units", "classifications")
_BILLED: Final = ("input_tokens", "output_tokens", "image_tokens", *_UNITS)
_USAGE: Final = (
    *(f"billed_units.{name}" for name in _BILLED),
    "tokens.input_tokens",
    "tokens.output_tokens",
    "cached_tokens",
)
PLACES: tuple[str, ...] = (
    "type",
    "event_type",
    "text",
    "message.content.text",
    "delta.message.content.text",
    "delta.message.tool_plan",
    "delta.message.tool_calls.function.arguments",
    *(f"{holder}.{name}" for holder in ("usage", "meta", "delta.usage", "response.meta") for name in _USAGE),
)

_TYPES: Final = ("message-", "content-", "tool-", "citation-")
_EVENT_TYPES: Final = frozenset(
    {
        "stream-start",
        "stream-end",
        "text-generation",
        "search-queries-generation",
        "search-results",
        "citation-generation",
        "tool-calls-chunk",
        "tool-calls-generation",
    }
)


def claims(event: Event) -> bool:
    """Units or tokens at Cohere's places, or an event of one of its streams."""
    kind, old_kind = event.get("type"), event.get("event_type")
    if type(kind) is str and kind.startswith(_TYPES):
        return True
    if type(old_kind) is str and old_kind in _EVENT_TYPES:
        return True
    return _states_use(event.get("usage")) or _states_use(event.get("meta"))


def take(event: Event, tally: Tally) -> None:
    """Note what an answer, or one event of its stream, says."""
    kind = event.get("type") or event.get("event_type")
    if kind == "message-end":
        delta = event.get("delta")
        _put_usage(delta.get("usage") if type(delta) is dict else None, tally)
        tally.end()
    elif kind == "stream-end":
        response = event.get("response")
        _put_usage(response.get("meta") if type(response) is dict else None, tally)
        tally.end()
    elif "event_type" in event:
        tally.more_expected = True
        tally.text_bytes += text_size(event.get("text"))
    elif "delta" in event:
        tally.text_bytes += _delta_size(event["delta"])
    else:
        _take_document(event, tally)


def counts(raw: Mapping[str, int]) -> Counts:
    """What is charged, or else what the model saw."""
    units = {name: raw[name] for name in _UNITS if name in raw}
    if "billed_in" in raw or "billed_out" in raw or units:
        return Counts(raw.get("billed_in", 0) + raw.get("image_tokens", 0), raw.get("billed_out", 0), units=units)
    return Counts(raw.get("seen_in", 0), raw.get("seen_out", 0), raw.get("cached", 0))


def _states_use(holder: object) -> bool:
    return type(holder) is dict and (type(holder.get("billed_units")) is dict or type(holder.get("tokens")) is dict)


def _put_usage(usage: object, tally: Tally) -> None:
    if type(usage) is not dict:
        return
    billed = usage.get("billed_units")
    if type(billed) is dict:
        tally.put("billed_in", billed.get("input_tokens"))
        tally.put("billed_out", billed.get("output_tokens"))
        for name in ("image_tokens", *_UNITS):
            tally.put(name, billed.get(name))
    seen = usage.get("tokens")
    if type(seen) is dict:
        tally.put("seen_in", seen.get("input_tokens"))
        tally.put("seen_out", seen.get("output_tokens"))
    tally.put("cached", usage.get("cached_tokens"))
    tally.settle()


def _delta_size(delta: object) -> int:
    message = delta.get("message") if type(delta) is dict else None
    if type(message) is not dict:
        return 0
    size = text_size(message.get("tool_plan"))
    content = message.get("content")
    if type(content) is dict:
        size += text_size(content.get("text"))
    calls = message.get("tool_calls")
    function = calls.get("function") if type(calls) is dict else None
    return size + (text_size(function.get("arguments")) if type(function) is dict else 0)


def _take_document(event: Event, tally: Tally) -> None:
    _put_usage(event.get("usage"), tally)
    _put_usage(event.get("meta"), tally)
    tally.text_bytes += text_size(event.get("text"))
    message = event.get("message")
    if type(message) is dict:
        tally.text_bytes += text_size(message.get("content"))
