"""OpenAI's embeddings, images, transcription and speech, and services that answer in their shape.

Embeddings count a prompt and nothing else. Images and newer transcription models use the names of the Responses API. Older
transcription models are charged by the second and state no tokens at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tollkeeper.extraction.dialects import openai_responses
from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.strict import MAX_COUNT
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "openai_other"
PATHS: tuple[str, ...] = (
    "/embeddings",
    "/images/generations",
    "/images/edits",
    "/transcriptions",
    "/translations",
    "/audio/speech",
)

PLACES: tuple[str, ...] = (
    "type",
    "object",
    "created",
    "model",
    "text",
    "delta",
    "usage.type",
    "usage.seconds",
    "usage.prompt_tokens",
    "usage.total_tokens",
    "usage.input_tokens",
    "usage.output_tokens",
    "usage.input_tokens_details.cached_tokens",
)

_EVENTS: Final = ("image_generation.", "image_edit.", "transcript.text.", "speech.audio.")
_LAST: Final = ("image_generation.completed", "image_edit.completed", "transcript.text.done", "speech.audio.done")


def claims(event: Event) -> bool:
    """A list with a prompt count, an event of a stream, or counts beside what only these APIs send."""
    if "choices" in event:
        return False
    kind = event.get("type")
    if type(kind) is str and kind.startswith(_EVENTS):
        return True
    usage = event.get("usage")
    if type(usage) is not dict:
        return False
    if "prompt_tokens" in usage:
        return event.get("object") == "list"
    return usage.get("type") in ("tokens", "duration") or ("input_tokens" in usage and "created" in event)


def take(event: Event, tally: Tally) -> None:
    """Note what an answer, or one event of its stream, says."""
    tally.name_model(event.get("model"))
    kind = event.get("type")
    if type(kind) is str and kind.endswith(".delta"):
        if kind.startswith("transcript."):
            tally.text_bytes += text_size(event.get("delta"))
        return
    usage = event.get("usage")
    if type(usage) is dict:
        _put_usage(usage, tally)
    if kind in _LAST:
        tally.end()
    elif "text" in event:
        tally.text_bytes += text_size(event["text"])


def counts(raw: Mapping[str, int]) -> Counts:
    """The counts as they are; seconds where nothing else is stated."""
    if "prompt_tokens" in raw:
        return Counts(raw["prompt_tokens"])
    seconds = raw.get("seconds")
    if seconds is not None:
        return Counts(units={"seconds": seconds})
    return openai_responses.counts(raw)


def _put_usage(usage: Event, tally: Tally) -> None:
    if usage.get("type") == "duration":
        tally.put("seconds", _whole_seconds(usage.get("seconds")))
    tally.put("prompt_tokens", usage.get("prompt_tokens"))
    openai_responses.put_usage(usage, tally)


def _whole_seconds(seconds: object) -> object:
    """Begun seconds count whole: a fraction is documented here, unlike anywhere else."""
    if type(seconds) is float and 0 <= seconds <= MAX_COUNT:
        return math.ceil(seconds)
    return seconds
