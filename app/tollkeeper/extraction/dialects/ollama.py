"""Ollama's own API: chat, generate and embed, whole or a line at a time.

Counts stand in the line that says `done`. Older servers leave out the prompt's count when the prompt was in their cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "ollama"
PATHS: tuple[str, ...] = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")

PLACES: tuple[str, ...] = (
    "model",
    "done",
    "done_reason",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "eval_count",
    "embedding",
    "response",
    "thinking",
    "message.content",
    "message.thinking",
)


def claims(event: Event) -> bool:
    """A line that says whether it is done, an evaluation count, or a bare vector."""
    return type(event.get("done")) is bool or "prompt_eval_count" in event or type(event.get("embedding")) is list


def take(event: Event, tally: Tally) -> None:
    """Note what an answer, or one line of it, says."""
    tally.name_model(event.get("model"))
    message = event.get("message")
    for holder in (event, message if type(message) is dict else {}):
        tally.text_bytes += sum(text_size(holder.get(name)) for name in ("response", "content", "thinking"))
    done = event.get("done")
    tally.more_expected = done is False
    if tally.more_expected:
        return
    for name in ("prompt_eval_count", "prompt_eval_cached_count", "eval_count"):
        tally.put(name, event.get(name))
    tally.settle()
    if done is True:
        tally.free = event.get("done_reason") in ("load", "unload")
        tally.end()


def counts(raw: Mapping[str, int]) -> Counts:
    """The counts as they are: the cached part is inside the prompt."""
    return Counts(raw.get("prompt_eval_count", 0), raw.get("eval_count", 0), raw.get("prompt_eval_cached_count", 0))
