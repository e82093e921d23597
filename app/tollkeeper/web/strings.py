"""What the pages say, in the reader's language.

Sentences stand in the templates in English and are looked up in `languages/<language>.json` and in the host app's own
mapping, which wins; so "en" can be given as well, to say something in other words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TypeAlias

Catalogue: TypeAlias = Mapping[str, str]
Catalogues: TypeAlias = Mapping[str, Catalogue]
"""By language ("de"), what each English sentence is there."""

ENGLISH = "en"
_MOST_CHOICES = 20


class Strings:
    """The sentences of all languages."""

    def __init__(self, own: Catalogues | None = None) -> None:
        shipped = _shipped()
        own = {language.lower(): dict(catalogue) for language, catalogue in (own or {}).items()}
        self._catalogues = {
            language: {**shipped.get(language, {}), **own.get(language, {})} for language in {ENGLISH, *shipped, *own}
        }

    def language_for(self, accept_language: str) -> str:
        """The language that a reader would rather have, of those that there are; English where none fits."""
        for wanted in _preferences(accept_language):
            for language in (wanted, wanted.partition("-")[0]):
                if language in self._catalogues:
                    return language
        return ENGLISH

    def say(self, language: str, sentence: str, **values: object) -> str:
        """The sentence in a language, `{name}` in it filled in; in English where it was not translated."""
        text = self._catalogues.get(language, {}).get(sentence, sentence)
        return text.format(**values) if values else text


def _preferences(header: str) -> list[str]:
    """`de-CH, en;q=0.8` as languages, the dearest first."""
    weighed = []
    for position, part in enumerate(header[:500].split(",")[:_MOST_CHOICES]):
        language, _, weight = part.partition(";")
        try:
            dearness = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if language.strip() and dearness > 0:
            weighed.append((-dearness, position, language.strip().lower()))
    return [language for _, _, language in sorted(weighed)]


@cache
def _shipped() -> dict[str, dict[str, str]]:
    folder = files("tollkeeper.web") / "languages"
    return {
        entry.name.removesuffix(".json"): json.loads(entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    }
