"""Amazon Bedrock: Converse, and InvokeModel with the model families that have no dialect of their own.

Converse's `inputTokens` leaves out both cache counts, and names the cached ones twice. Titan and Llama state counts at
the top of their answer. Whatever the family, the last piece of an InvokeModel stream and the response headers repeat the
counts; they are the last resort, because with Anthropic's caching they know the uncached input only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.strict import NOT_BELIEVED
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "bedrock"
PATHS: tuple[str, ...] = ("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream")

METRICS: Final = "amazon-bedrock-invocationMetrics"
_USAGE: Final = {
    "inputTokens": "in",
    "outputTokens": "out",
    "totalTokens": "total",
    "cacheReadInputTokenCount": "read",
    "cacheReadInputTokens": "read",
    "cacheWriteInputTokenCount": "write",
    "cacheWriteInputTokens": "write",
}
_METRICS: Final = {
    "inputTokenCount": "in",
    "outputTokenCount": "out",
    "cacheReadInputTokenCount": "read",
    "cacheWriteInputTokenCount": "write",
}
_TOP: Final = {
    "inputTextTokenCount": "in",
    "totalOutputTextTokenCount": "out",
    "prompt_token_count": "in",
    "generation_token_count": "out",
}
_HEADERS: Final = {
    b"x-amzn-bedrock-input-token-count": "in",
    b"x-amzn-bedrock-output-token-count": "out",
    b"x-amzn-bedrock-cache-read-input-token-count": "read",
    b"x-amzn-bedrock-cache-write-input-token-count": "write",
}
_HEADER_COUNT: Final = re.compile(rb"[0-9]{1,18}")
_FRAMES: Final = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop")
_DELTA: Final = "contentBlockDelta.delta"
PLACES: tuple[str, ...] = (
    "stopReason",
    "inputTokens",
    "generation",
    "outputText",
    *_FRAMES,
    *(f"usage.{name}" for name in _USAGE),
    *(f"metadata.usage.{name}" for name in _USAGE),
    *(f"{METRICS}.{name}" for name in _METRICS),
    *_TOP,
    "results.tokenCount",
    "results.outputText",
    "output.message.content.text",
    "output.message.content.reasoningContent.reasoningText.text",
    f"{_DELTA}.text",
    f"{_DELTA}.toolUse.input",
    f"{_DELTA}.reasoningContent.text",
)


def claims(event: Event) -> bool:
    """Counts under Converse's names, a frame of its stream, counts of Titan or Llama, or the metrics of an invocation."""
    if _states_use(event) or _states_use(event.get("metadata")):
        return True
    if METRICS in event or type(event.get("inputTokens")) is int or ("stopReason" in event and "output" in event):
        return True
    return any(name in event for name in _TOP) or any(type(event.get(name)) is dict for name in _FRAMES)


def take(event: Event, tally: Tally) -> None:
    """Note what an answer, or one frame of its stream, says."""
    if "contentBlockDelta" in event:
        _take_delta(event["contentBlockDelta"], tally)
    elif _states_use(event.get("metadata")):
        _put_usage(event["metadata"]["usage"], tally)
        tally.end()
    elif "inputTokens" in event:
        tally.free = True
    else:
        _take_document(event, tally)


def counts(raw: Mapping[str, int]) -> Counts:
    """All input and all output; the total tells whether the cache counts are already in the input."""
    plain, tokens_out = raw.get("in", 0), raw.get("out", 0)
    read, written = raw.get("read", 0), raw.get("write", 0)
    included = raw.get("total") == plain + tokens_out and read + written <= plain
    return Counts(plain if included else plain + read + written, tokens_out, read, written)


def note_metrics(event: Any, tally: Tally) -> None:
    """Keep the metrics of an invocation for an answer whose own body states nothing."""
    metrics = event.get(METRICS) if type(event) is dict else None
    if type(metrics) is dict:
        raw = {
            ours: value
            for theirs, ours in _METRICS.items()
            if type(value := metrics.get(theirs)) is int and 0 <= value < 2**63
        }
        if "in" in raw or "out" in raw:
            tally.fallback = counts(raw)


def header_counts(headers: Sequence[tuple[bytes, bytes]]) -> Counts | None:
    """The use that Bedrock's own response headers state, None without them."""
    raw: dict[str, int] = {}
    for name, value in headers:
        ours = _HEADERS.get(name.lower())
        if ours is not None and _HEADER_COUNT.fullmatch(value.strip()):
            raw[ours] = int(value)
    return counts(raw) if "in" in raw or "out" in raw else None


def _states_use(holder: object) -> bool:
    usage = holder.get("usage") if type(holder) is dict else None
    return type(usage) is dict and "inputTokens" in usage


def _put_usage(usage: object, tally: Tally) -> None:
    if type(usage) is not dict:
        tally.doubt = tally.doubt or usage is not None
        return
    for theirs, ours in _USAGE.items():
        tally.put(ours, usage.get(theirs))
    tally.settle()


def _take_delta(block: object, tally: Tally) -> None:
    delta = block.get("delta") if type(block) is dict else None
    if type(delta) is not dict:
        return
    tally.text_bytes += text_size(delta.get("text"))
    for holder, name in (("toolUse", "input"), ("reasoningContent", "text")):
        inner = delta.get(holder)
        if type(inner) is dict:
            tally.text_bytes += text_size(inner.get(name))


def _take_document(event: Event, tally: Tally) -> None:
    _put_usage(event.get("usage"), tally)
    for theirs, ours in _TOP.items():
        tally.put(ours, event.get(theirs))
    results = event.get("results")
    if type(results) is list:
        _take_results(results, tally)
    tally.settle()
    for name in ("generation", "outputText"):
        tally.text_bytes += text_size(event.get(name))
    output = event.get("output")
    message = output.get("message") if type(output) is dict else None
    if type(message) is dict:
        tally.text_bytes += text_size(message.get("content"))
    if METRICS in event:
        note_metrics(event, tally)
        tally.end()


def _take_results(results: list[Any], tally: Tally) -> None:
    """Titan counts the output of each of its results."""
    answers = [result for result in results if type(result) is dict]
    sizes = [answer["tokenCount"] for answer in answers if answer.get("tokenCount") is not None]
    believed = all(type(size) is int and size >= 0 for size in sizes)
    tally.put("out", sum(sizes) if believed else NOT_BELIEVED)
    tally.text_bytes += sum(text_size(answer.get("outputText")) for answer in answers)
