"""OpenAI's Responses API, also as Azure, xAI, LM Studio and others speak it.

Input includes cached and cache-write tokens, output includes reasoning. In a stream the counts are null until the event
that ends it. A background response is answered at once without counts; every later poll of it repeats them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "openai_responses"
PATHS: tuple[str, ...] = ("/responses",)

_USAGE: Final = (
    "input_tokens",
    "output_tokens",
    "input_tokens_details.cached_tokens",
    "input_tokens_details.cache_write_tokens",
    "output_tokens_details.reasoning_tokens",
)
_RESPONSE: Final = ("id", "model", "background", *(f"usage.{name}" for name in _USAGE))
PLACES: tuple[str, ...] = (
    "type",
    "object",
    "delta",
    *_RESPONSE,
    *(f"response.{name}" for name in _RESPONSE),
    "output.arguments",
    "output.content.text",
    "output.summary.text",
)

_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.done"})
_SOUND: Final = frozenset({"response.audio.delta", "response.output_audio.delta"})


def claims(event: Event) -> bool:
    """A response, an event of its stream, or counts under the names of this API."""
    kind, name = event.get("type"), event.get("object")
    if type(kind) is str and kind.startswith("response."):
        return True
    if type(name) is str and name.startswith("response"):
        return True
    usage = event.get("usage")
    return type(usage) is dict and "input_tokens" in usage


def take(event: Event, tally: Tally) -> None:
    """Note what a response, or one event of its stream, says."""
    kind = event.get("type")
    if type(kind) is not str or not kind.startswith("response."):
        _take_document(event, tally)
    elif kind.endswith(".delta"):
        if kind not in _SOUND:
            tally.text_bytes += text_size(event.get("delta"))
    else:
        _take_response(event.get("response"), tally)
        if kind in _LAST:
            tally.end()


def counts(raw: Mapping[str, int]) -> Counts:
    """The counts as they are: this API includes every part in its whole."""
    return Counts(
        tokens_in=raw.get("input_tokens", 0),
        tokens_out=raw.get("output_tokens", 0),
        cached_tokens_in=raw.get("cached", 0),
        cache_write_tokens_in=raw.get("cache_write", 0),
        reasoning_tokens_out=raw.get("reasoning", 0),
    )


def put_usage(usage: object, tally: Tally) -> None:
    """Note a usage object under the names of this API."""
    if type(usage) is not dict:
        tally.doubt = tally.doubt or usage is not None
        return
    tally.put("input_tokens", usage.get("input_tokens"))
    tally.put("output_tokens", usage.get("output_tokens"))
    details = usage.get("input_tokens_details")
    if type(details) is dict:
        tally.put("cached", details.get("cached_tokens"))
        tally.put("cache_write", details.get("cache_write_tokens"))
    details = usage.get("output_tokens_details")
    if type(details) is dict:
        tally.put("reasoning", details.get("reasoning_tokens"))
    tally.settle()


def _take_response(response: Any, tally: Tally) -> None:
    if type(response) is not dict:
        return
    tally.identify(response.get("id"))
    tally.name_model(response.get("model"))
    tally.background = tally.background or response.get("background") is True
    put_usage(response.get("usage"), tally)


def _take_document(response: Event, tally: Tally) -> None:
    if response.get("object") == "response.input_tokens":
        tally.free = True
        return
    _take_response(response, tally)
    output = response.get("output")
    if type(output) is list:
        for item in output:
            if type(item) is dict:
                names = ("content", "summary", "arguments")
                tally.text_bytes += sum(text_size(item.get(name)) for name in names)
