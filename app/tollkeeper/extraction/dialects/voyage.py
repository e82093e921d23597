"""Voyage's embeddings and reranking: one total, and all of it is input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Event

NAME = "voyage"
PATHS: tuple[str, ...] = ()

PLACES: tuple[str, ...] = ("object", "model", "results.index", "usage.total_tokens")


def claims(event: Event) -> bool:
    """A list, of vectors or of ranked documents, whose usage is a total alone."""
    usage = event.get("usage")
    is_list = event.get("object") == "list" or "results" in event
    return is_list and type(usage) is dict and "total_tokens" in usage


def take(event: Event, tally: Tally) -> None:
    """Note model and total."""
    tally.name_model(event.get("model"))
    usage = event.get("usage")
    tally.put("total_tokens", usage.get("total_tokens") if type(usage) is dict else None)
    tally.settle()


def counts(raw: Mapping[str, int]) -> Counts:
    """The total, as input."""
    return Counts(tokens_in=raw.get("total_tokens", 0))
