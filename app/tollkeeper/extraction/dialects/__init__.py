"""One file per AI API: how its answers state their use.

A dialect is a module. It never looks anywhere but at the places it lists, so what a model writes in its text is not
mistaken for use, and a body too large to decode at once can be read at those places alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

from tollkeeper.extraction.json_scan import Places, tree_of
from tollkeeper.extraction.reading import Counts
from tollkeeper.extraction.tally import Tally

Event: TypeAlias = dict[str, Any]
"""One JSON object of an answer: a whole document, a line, or the data of one stream event."""


class Dialect(Protocol):
    """What each module of this folder offers."""

    NAME: str
    PATHS: tuple[str, ...]
    """How the paths of this API end; asked only where there is no answer to look at."""
    PLACES: tuple[str, ...]
    """Every place the dialect reads, as keys joined by dots; lists on the way are looked through."""

    def claims(self, event: Event) -> bool:
        """Whether the event has this API's shape."""

    def take(self, event: Event, tally: Tally) -> None:
        """Note what a claimed event says."""

    def counts(self, raw: Mapping[str, int]) -> Counts:
        """The normalised use of one call, from the counts it stated under the names that `take` gave them."""


from tollkeeper.extraction.dialects import (  # noqa: E402 - the modules need the names above
    anthropic,
    bedrock,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_other,
    openai_responses,
    voyage,
)

DIALECTS: Final[tuple[Dialect, ...]] = (
    openai_other,
    openai_chat,
    anthropic,
    openai_responses,
    gemini,
    cohere,
    bedrock,
    ollama,
    voyage,
)
"""Asked in this order; the first to claim an event reads it."""

TREE: Final[Places] = tree_of(place for dialect in DIALECTS for place in dialect.PLACES)
"""Every place that some dialect reads."""


def by_path(path: str) -> Dialect | None:
    """The API that a path belongs to, by its end."""
    return next((dialect for dialect in DIALECTS if path.endswith(dialect.PATHS)), None)


def take(event: object, tally: Tally) -> None:
    """Let the dialect whose shape the event has read it; objects of no known shape pass unread."""
    if type(event) is not dict:
        return
    dialect = tally.dialect
    if dialect is None or not dialect.claims(event):
        dialect = next((other for other in DIALECTS if other.claims(event)), None)
        if dialect is None:
            tally.unclaimed = tally.unclaimed or not tally.truncated
            return
        if tally.dialect is not None and tally.raw:
            tally.next_call()
        tally.dialect = dialect
    text_before = tally.text_bytes
    tally.settled = False
    dialect.take(event, tally)
    if tally.text_bytes != text_before and not tally.settled:
        tally.covered = False
