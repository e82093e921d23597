"""What a request to an AI API asks for, read before the route runs: the model, and bounds for what it can cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from tollkeeper.extraction.json_body import LARGEST_HELD, decode
from tollkeeper.extraction.json_scan import Malformed, Scanner, tree_of
from tollkeeper.extraction.strict import model_name

LARGEST_LIMIT: Final = 2**31
"""Limits and repetitions past this are taken for no limit at all."""

MEDIA_TOKENS: Final = 1_024
"""What an image, sound or document inside the body is taken for where the input has to be estimated."""


class _Places(NamedTuple):
    """Members of the body, and members of objects in it."""

    plain: tuple[str, ...]
    nested: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def names(self) -> list[str]:
        return [*self.plain, *(f"{holder}.{name}" for holder, names in self.nested for name in names)]


_LIMITS: Final = _Places(
    ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "max_gen_len", "num_predict"),
    (
        ("generationConfig", ("maxOutputTokens",)),
        ("generation_config", ("max_output_tokens",)),
        ("inferenceConfig", ("maxTokens",)),
        ("textGenerationConfig", ("maxTokenCount",)),
        ("options", ("num_predict",)),
    ),
)
_REPETITIONS: Final = _Places(
    ("n", "best_of", "candidateCount"),
    (("generationConfig", ("candidateCount",)), ("generation_config", ("candidate_count",))),
)
_HOLDERS: Final = frozenset(holder for places in (_LIMITS, _REPETITIONS) for holder, _ in places.nested)
_TREE: Final = tree_of(("model", "stream", "prompt", *_LIMITS.names, *_REPETITIONS.names))

_BEDROCK_ACTIONS: Final = ("converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens")
_STREAM_PATHS: Final = (":streamGenerateContent", "/converse-stream", "/invoke-with-response-stream")
_STREAM_BY_DEFAULT: Final = ("/api/chat", "/api/generate")  # Ollama
_PATH_REMEMBERED: Final = 256
"""An app has few paths; a longer one is read anew."""
_MODEL_IN_FORM: Final = re.compile(
    rb'name="?model"?[^\r\n]{0,256}\r?\n(?:[^\r\n]{1,256}\r?\n){0,8}\r?\n([^\r\n]{1,255})\r?\n'
)
_BASE64_RUN: Final = re.compile(rb"[A-Za-z0-9+/_-]*+")
_SHORTEST_MEDIA: Final = 1_024


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What can be known of the use before the answer.

    `tokens_in_bound` is the size of the body in bytes: a tokeniser makes at least one byte of prompt into each token, and
    the names, quotes and brackets around a message outweigh what a chat template adds to it. It cannot bound what the
    request only points to: images by address, stored conversations, tools that the API runs.
    `tokens_out_bound` is the request's own limit times the answers it asks for; None where it sets none.
    """

    model_id: str | None
    tokens_in_bound: int
    tokens_out_bound: int | None
    stream: bool
    text_bytes: int | None = None
    """The body without what is not text, for an estimate: media as `MEDIA_TOKENS` each, escaped characters unescaped."""


def read_request(method: str, path: str, content_type: bytes | None, body: bytes) -> RequestFacts:
    """What the request asks for. Never raises: what cannot be read is not known."""
    said = _said_by_path(path) if len(path) <= _PATH_REMEMBERED else _read_path(path)
    asked = _asked(content_type, body)
    return RequestFacts(
        said.model_id if said.decides_model else model_name(asked.get("model")) or said.model_id,
        len(body),
        _output_bound(asked),
        said.streams or asked.get("stream", said.streams_by_default and bool(asked)) is True,
        _text_bytes(body),
    )


class _Path(NamedTuple):
    """What the path says of the request."""

    model_id: str | None
    decides_model: bool
    """Its model comes before the body's."""
    streams: bool
    streams_by_default: bool


def _read_path(path: str) -> _Path:
    path = unquote(path.partition("?")[0])
    model = _model_in_path(path)
    decides = model is not None
    if model is None:
        model = path.partition("/deployments/")[2].partition("/")[0]  # Azure
    return _Path(model_name(model), decides, path.endswith(_STREAM_PATHS), path.endswith(_STREAM_BY_DEFAULT))


_said_by_path = lru_cache(_read_path)


def _asked(content_type: bytes | None, body: bytes) -> dict[str, Any]:
    """The members of the body that matter here."""
    if body[:64].lstrip().startswith(b"{"):
        return _json_object(body)
    if content_type is not None and content_type.lower().startswith(b"multipart/form-data"):
        found = _MODEL_IN_FORM.search(body)
        return {"model": found[1].decode("utf-8", "replace")} if found else {}
    return {}


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) <= LARGEST_HELD:
        try:
            value = decode(body)
        except Malformed:
            return {}
        return value if type(value) is dict else {}
    found: list[dict[str, Any]] = []
    Scanner(_TREE, found.append).feed(body)
    return found[-1] if found else {}


def _model_in_path(path: str) -> str | None:
    """The model of a Gemini or Bedrock path, None for other paths."""
    name, _, action = path.rpartition(":")
    for shelf in ("/models/", "/tunedModels/"):
        if shelf in name and "/" not in action:
            return name.rpartition(shelf)[2]
    name, _, action = path.rpartition("/")
    if action in _BEDROCK_ACTIONS and "/model/" in name:
        return name.partition("/model/")[2]
    return None


def _output_bound(asked: dict[str, Any]) -> int | None:
    limits = _stated(asked, _LIMITS)
    if not limits:
        return None
    repetitions = _stated(asked, _REPETITIONS)
    return max(limits) * max(repetitions, default=1) * _prompts(asked.get("prompt"))


def _prompts(prompt: object) -> int:
    """How many prompts a legacy completion brings: each is answered up to the limit. A list of numbers is one prompt."""
    if type(prompt) is not list or not prompt or type(prompt[0]) is int:
        return 1
    return len(prompt)


def _stated(asked: dict[str, Any], places: _Places) -> list[int]:
    values = [asked[name] for name in places.plain if name in asked]
    if not _HOLDERS.isdisjoint(asked):
        for holder, names in places.nested:
            inner = asked.get(holder)
            if type(inner) is dict:
                values += [inner.get(name) for name in names]
    return [value for value in values if type(value) is int and 0 < value <= LARGEST_LIMIT]


def _text_bytes(body: bytes) -> int:
    size = len(body) - 3 * body.count(b"\\u")
    position = 0
    while position <= len(body) - _SHORTEST_MEDIA:
        stop = _BASE64_RUN.match(body, position).end()  # type: ignore[union-attr] # matches anything, if only nothing
        if stop - position >= _SHORTEST_MEDIA:
            size += 4 * MEDIA_TOKENS - (stop - position)
            position = stop
        position += _SHORTEST_MEDIA
    return max(0, size)
