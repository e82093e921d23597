"""API keys: how they are made, recognised and stored."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.keys import generate_key, hash_key, key_prefix, looks_like_key


def counted(number: int) -> bytes:
    return bytes(range(number))


def test_a_key_is_a_prefix_and_256_bits_in_letters_and_digits() -> None:
    key = generate_key(counted)
    assert key.startswith("tk_")
    assert len(key) == 3 + 43
    assert key[3:].isalnum()
    assert key.isascii()


def test_the_same_randomness_is_the_same_key_and_other_randomness_another() -> None:
    assert generate_key(counted) == generate_key(counted)
    keys = {generate_key(secrets.token_bytes) for _ in range(1_000)}
    assert len(keys) == 1_000


def test_no_randomness_is_lost_on_the_way() -> None:
    low, high = generate_key(lambda n: b"\x00" * n), generate_key(lambda n: b"\xff" * n)
    assert low == "tk_" + "0" * 43
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for character in high[3:]:
        number = number * 62 + alphabet.index(character)
    assert number == 2**256 - 1


def test_only_a_hash_and_the_first_characters_are_kept() -> None:
    key = generate_key(counted)
    assert hash_key(key) == hashlib.sha256(key.encode()).digest()
    assert key_prefix(key) == key[:11]
    assert len(key_prefix(key)) < len(key) / 4


@pytest.mark.parametrize(
    "text", ["", "tk_", "sk-abc", "tk_" + "a" * 42, "tk_" + "a" * 44, "tk_" + "-" * 43, "tk_" + "é" * 43]
)
def test_what_cannot_be_a_key_need_not_be_looked_up(text: str) -> None:
    assert not looks_like_key(text)


def test_every_key_looks_like_one_and_a_line_end_does_not_belong_to_it() -> None:
    key = generate_key(counted)
    assert looks_like_key(key)
    assert not looks_like_key(key + "\n")


def test_a_key_that_has_no_utf_8_is_refused_not_a_crash() -> None:
    with pytest.raises(InvalidInput):
        hash_key("tk_\ud800")
