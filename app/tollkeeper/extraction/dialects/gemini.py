"""Gemini and Vertex: generateContent, its streams, embeddings, interactions, and agents built with ADK.

`promptTokenCount` includes the cached part, `toolUsePromptTokenCount` is input outside it, and `candidatesTokenCount`
leaves out the thoughts. Every event of a stream repeats the counts so far, under one `responseId`. Events of ADK agents
have no such id, and each one that is not partial is a model call of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "gemini"
PATHS: tuple[str, ...] = (
    ":generateContent",
    ":streamGenerateContent",
    ":embedContent",
    ":batchEmbedContents",
    "/interactions",
)

_METADATA: Final = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)
_INTERACTION: Final = {
    "total_input_tokens": "promptTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
}
_HOLDER: Final = ("id", "model", *(f"usage.{name}" for name in _INTERACTION))
PLACES: tuple[str, ...] = (
    "responseId",
    "modelVersion",
    "partial",
    "author",
    "invocationId",
    "promptFeedback.blockReason",
    "totalTokens",
    "embedding.values",
    "embeddings.values",
    "content.parts.text",
    "candidates.finishReason",
    "candidates.content.parts.text",
    *(f"usageMetadata.{name}" for name in _METADATA),
    "event_type",
    "delta.text",
    *_HOLDER,
    *(f"interaction.{name}" for name in _HOLDER),
)

_AGENT: Final = ("content", "author", "invocationId")
_EVENTS: Final = ("interaction.", "content.", "step.")
_LAST: Final = ("interaction.complete", "interaction.completed")


def claims(event: Event) -> bool:
    """Candidates, counts or feedback of generateContent, an embedding, a token count, or an interaction."""
    if "candidates" in event or "usageMetadata" in event or "promptFeedback" in event:
        return True
    return _is_interaction(event) or _is_embedding(event) or type(event.get("totalTokens")) is int


def take(event: Event, tally: Tally) -> None:
    """Note what an answer, or one event of its stream, says."""
    if _is_interaction(event):
        _take_interaction(event, tally)
        return
    tally.name_model(event.get("modelVersion"))
    usage = event.get("usageMetadata")
    if usage is None and "totalTokens" in event:
        tally.free = True
        return
    tally.identify(event.get("responseId"))
    if type(usage) is dict:
        for name in _METADATA:
            tally.put(name, usage.get(name))
        tally.settle()
    elif usage is not None:
        tally.doubt = True
    candidates = event.get("candidates")
    if type(candidates) is list:
        _take_candidates(candidates, tally)
    elif "promptFeedback" in event:
        tally.ended = True
    elif any(name in event for name in _AGENT):
        _take_agent_event(event, tally)


def counts(raw: Mapping[str, int]) -> Counts:
    """All input with tool results, all output with thoughts."""
    thoughts = raw.get("thoughtsTokenCount", 0)
    return Counts(
        tokens_in=raw.get("promptTokenCount", 0) + raw.get("toolUsePromptTokenCount", 0),
        tokens_out=raw.get("candidatesTokenCount", 0) + thoughts,
        cached_tokens_in=raw.get("cachedContentTokenCount", 0),
        reasoning_tokens_out=thoughts,
    )


def _take_candidates(candidates: list[object], tally: Tally) -> None:
    for candidate in candidates:
        if type(candidate) is dict:
            tally.text_bytes += _content_size(candidate.get("content"))
            if candidate.get("finishReason") is not None:
                tally.ended = True


def _take_agent_event(event: Event, tally: Tally) -> None:
    """The event that closes a call repeats the text of the partial ones before it."""
    if event.get("partial") is True:
        tally.call_id = "partial"
        tally.text_bytes += _content_size(event.get("content"))
        return
    if tally.call_id != "partial":
        tally.text_bytes += _content_size(event.get("content"))
    tally.close_call()


def _content_size(content: object) -> int:
    return text_size(content.get("parts")) if type(content) is dict else 0


def _is_embedding(event: Event) -> bool:
    vectors = event.get("embeddings")
    return type(event.get("embedding")) is dict or (
        type(vectors) is list and bool(vectors) and type(vectors[0]) is dict and "values" in vectors[0]
    )


def _is_interaction(event: Event) -> bool:
    kind = event.get("event_type")
    if type(kind) is str and kind.startswith(_EVENTS):
        return True
    usage = event.get("usage")
    return type(usage) is dict and "total_input_tokens" in usage


def _take_interaction(event: Event, tally: Tally) -> None:
    delta = event.get("delta")
    if type(delta) is dict:
        tally.text_bytes += text_size(delta.get("text"))
        return
    holder = event.get("interaction", event)
    if type(holder) is dict:
        tally.identify(holder.get("id"))
        tally.name_model(holder.get("model"))
        usage = holder.get("usage")
        if type(usage) is dict:
            for name, metadata in _INTERACTION.items():
                tally.put(metadata, usage.get(name))
            tally.settle()
    if event.get("event_type") in _LAST:
        tally.end()
