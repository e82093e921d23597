"""Which language a reader gets, and that every sentence of a shipped language is one of ours."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tollkeeper.web.strings import Strings, _shipped

OWN = {"fr": {"Usage": "Consommation"}, "pt-BR": {"Usage": "Uso"}}
SENTENCE = re.compile(r"""\bt\(\s*"((?:[^"\\]|\\.)*)\"""")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA,en;q=0.9", "fr"),
        ("en;q=0.5, fr;q=0.9", "fr"),
        ("xx, pt-br", "pt-br"),
        ("fr;q=0", "en"),
        ("fr;q=x, ,;;", "en"),
        ("*", "en"),
        ("a," * 10_000, "en"),
    ],
)
def test_the_dearest_language_that_there_is(header: str, expected: str) -> None:
    assert Strings(OWN).language_for(header) == expected


def test_a_sentence_that_was_not_translated_is_said_in_english() -> None:
    strings = Strings(OWN)
    assert strings.say("fr", "Usage") == "Consommation"
    assert strings.say("fr", "Days left: {days}", days=3) == "Days left: 3"


TEMPLATES = Path(str(files("tollkeeper.web"))) / "templates"


def test_shipped_languages_say_all_that_customers_read() -> None:
    said = {sentence for page in TEMPLATES.glob("*.html") for sentence in SENTENCE.findall(page.read_text("utf-8"))}
    assert "Usage" in said
    for language, catalogue in _shipped().items():
        assert {one for one in said if not one.endswith(" ")} - set(catalogue) == set(), language


def test_translations_fill_in_the_same_values() -> None:
    assert "de" in _shipped()
    for catalogue in _shipped().values():
        for sentence, translated in catalogue.items():
            assert set(re.findall(r"{\w+}", sentence)) == set(re.findall(r"{\w+}", translated)), sentence
