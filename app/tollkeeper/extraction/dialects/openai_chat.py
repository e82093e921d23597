"""OpenAI chat completions, and the many APIs that answer in their shape.

Azure, vLLM, Groq, Mistral, DeepSeek, xAI, OpenRouter, Together, Perplexity, Moonshot and others, each with its own
variations; legacy text completions too. Input includes cached and cache-write tokens. Output includes reasoning, except
at xAI, where only the total tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally
from tollkeeper.extraction.text import text_size

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "openai_chat"
PATHS: tuple[str, ...] = ("/completions",)

_FLAT: Final = {
    "cached_tokens": "cached",  # Together, some Hugging Face
    "num_cached_tokens": "cached",  # Mistral
    "prompt_cache_hit_tokens": "cached",  # DeepSeek
    "cache_read_input_tokens": "cached",  # LiteLLM, another name of what the details say
    "cache_creation_input_tokens": "cache_write",  # LiteLLM as well
    "reasoning_tokens": "reasoning",
    "citation_tokens": "citations",  # Perplexity
}
"""Parts that stand beside the totals, under the names of single services. Where the details say them too, they agree, or
one of the two is a zero that the service does not fill."""
_USAGE: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    *_FLAT,
    "prompt_tokens_details.cached_tokens",
    "prompt_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "completion_tokens_details.reasoning_tokens",
)
_TEXT: Final = ("content", "reasoning_content", "reasoning", "refusal")
_MESSAGE: Final = (*_TEXT, "content.text", "tool_calls.function.arguments", "function_call.arguments")
PLACES: tuple[str, ...] = (
    "id",
    "object",
    "model",
    *(f"usage.{name}" for name in _USAGE),
    *(f"x_groq.usage.{name}" for name in _USAGE),
    "choices.finish_reason",
    "choices.text",
    *(f"choices.{holder}.{name}" for holder in ("delta", "message") for name in _MESSAGE),
)


def claims(event: Event) -> bool:
    """Choices, or counts under the names of this API."""
    if "choices" in event:
        return True
    usage = event.get("usage")
    return type(usage) is dict and "prompt_tokens" in usage and event.get("object") != "thread.run.step"


def take(event: Event, tally: Tally) -> None:
    """Note model, counts and text of a completion or of one chunk of it."""
    choices = event.get("choices")
    _identify(event.get("id"), choices, tally)
    tally.name_model(event.get("model"))
    usage = event.get("usage")
    if usage is None:
        groq = event.get("x_groq")
        usage = groq.get("usage") if type(groq) is dict else None
    if usage is not None:
        put_usage(usage, tally)
    if type(choices) is list:
        for choice in choices:
            if type(choice) is dict:
                _take_choice(choice, tally)
    if tally.finishing and tally.stated:
        tally.ended = True


def put_usage(usage: object, tally: Tally) -> None:
    """Note a usage object: the latest one holds, because some services repeat a growing count on every chunk."""
    if type(usage) is not dict:
        tally.doubt = True
        return
    tally.put("prompt_tokens", usage.get("prompt_tokens"))
    tally.put("completion_tokens", usage.get("completion_tokens"))
    tally.put("total_tokens", usage.get("total_tokens"))
    _put_parts(usage, tally)
    tally.settle()


def counts(raw: Mapping[str, int]) -> Counts:
    """All input and all output of one completion."""
    total = raw.get("total_tokens", 0)
    tokens_in = raw.get("prompt_tokens")
    tokens_out = raw.get("completion_tokens")
    reasoning = raw.get("reasoning", 0)
    if tokens_in is None:
        tokens_in = max(0, total - (tokens_out or 0))
    if tokens_out is None:
        tokens_out = max(0, total - tokens_in)
    elif reasoning and total == tokens_in + tokens_out + reasoning:
        tokens_out += reasoning  # xAI: 12 + 1 + 228 = 241
    elif "citations" in raw:
        tokens_out += reasoning + raw["citations"]  # Perplexity's deep research charges both on top
    return Counts(tokens_in, tokens_out, raw.get("cached", 0), raw.get("cache_write", 0), reasoning)


def _put_parts(usage: Event, tally: Tally) -> None:
    details = usage.get("prompt_tokens_details")
    if type(details) is dict:
        tally.put("cached", details.get("cached_tokens"))
        tally.put("cache_write", details.get("cache_write_tokens"))
        tally.put_larger("cache_write", details.get("cache_creation_tokens"))
    details = usage.get("completion_tokens_details")
    if type(details) is dict:
        tally.put("reasoning", details.get("reasoning_tokens"))
    if not _FLAT.keys().isdisjoint(usage):
        for name, part in _FLAT.items():
            tally.put_larger(part, usage.get(name))


def _identify(call_id: object, choices: object, tally: Tally) -> None:
    """Tell the calls of an agent apart.

    Some services give every chunk an id of its own and repeat a cumulative count, so another id alone is no other call:
    the one before must have finished and stated its use, and the new one must bring a choice.
    """
    if type(call_id) is not str or not call_id or call_id == tally.call_id:
        return
    if tally.call_id is not None and tally.finishing and tally.stated and choices:
        tally.next_call()
    tally.call_id = call_id


def _take_choice(choice: Event, tally: Tally) -> None:
    if choice.get("finish_reason") is not None:
        tally.finishing = True
    message = choice.get("delta")
    if message is None:
        message = choice.get("message")
    if type(message) is dict:
        tally.text_bytes += _message_size(message)
    elif "text" in choice:
        tally.text_bytes += text_size(choice["text"])


def _message_size(message: Event) -> int:
    size = 0
    for name in _TEXT:
        value = message.get(name)
        if value:
            size += text_size(value)
    calls = message.get("tool_calls")
    if type(calls) is list:
        size += sum(_arguments_size(call.get("function")) for call in calls if type(call) is dict)
    if "function_call" in message:
        size += _arguments_size(message["function_call"])
    return size


def _arguments_size(function: object) -> int:
    return text_size(function.get("arguments")) if type(function) is dict else 0
