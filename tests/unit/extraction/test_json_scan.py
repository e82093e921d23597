"""JSON read in pieces keeps what stands at the known places, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.extraction.json_scan import LONGEST_LIST, LONGEST_STRING, Places, Scanner, tree_of
from tollkeeper.extraction.text import LongText

TREE = tree_of(("a", "b.a", "b.c.a", "c.b"))


def scan(data: bytes, size: int = 1 << 20, tree: Places = TREE) -> tuple[list[Any], Scanner]:
    found: list[Any] = []
    scanner = Scanner(tree, found.append)
    for place in range(0, len(data), size):
        scanner.feed(data[place : place + size])
    return found, scanner


def pruned(value: Any, branch: Places, *, in_list: bool = False) -> Any:
    """What the scanner is to keep of a decoded value, said the slow way."""
    if type(value) is dict:
        return {key: pruned(inner, branch[key]) for key, inner in value.items() if key in branch}
    if type(value) is list:
        return None if in_list else [pruned(inner, branch, in_list=True) for inner in value]
    return value


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), documents, max_size=4), st.booleans(), st.sampled_from([1, 2, 5, 99_999])
)
def test_the_scanner_keeps_what_decoding_and_pruning_would(document: Any, ascii_only: bool, size: int) -> None:
    for indent in (None, 1):
        data = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
        found, scanner = scan(data, size)
        assert found == [pruned(json.loads(data), TREE)]
        assert scanner.whole
        assert not scanner.malformed


def test_texts_may_follow_each_other_or_stand_in_a_list() -> None:
    for data in (
        b'{"a": 1}{"a": 2}',
        b'{"a": 1}\n{"a": 2}\n',
        b'[{"a": 1}, {"a": 2}]',
        b'[{"a": 1}, [{"a": 9}], 3, {"a": 2}]',
    ):
        found, scanner = scan(data)
        assert found == [{"a": 1}, {"a": 2}]
        assert scanner.whole


def test_texts_that_are_no_objects_are_read_over() -> None:
    found, scanner = scan(b'{"a": 1} "b" 3 null {"a": 2}')
    assert found == [{"a": 1}, {"a": 2}]
    assert scanner.whole


@pytest.mark.parametrize(
    "data",
    [b"{a: 1}", b'{"a" 1}', b'{"a": 1,}', b'{"a": tru}', b'{"a": 1 2}', b"{]", b'[1}', b'{"a": 01}', b'{"a": +1}',
     b'{"a": }', b"}", b",", b'{"a": "\\x"}', b'{"a": 1}}', b'{"b": {"a": 1]}', b'{"a": .5}'],
)  # fmt: skip
def test_what_is_no_json_at_a_known_place_is_told(data: bytes) -> None:
    _, scanner = scan(data + b" ")
    assert scanner.malformed
    assert not scanner.whole


@pytest.mark.parametrize("data", [b"", b"{", b'{"a"', b'{"a": 1', b'{"a": "x', b'{"d": [[[1, 2', b'[{"a": 1},'])
def test_the_beginning_of_a_text_is_neither_whole_nor_malformed(data: bytes) -> None:
    _, scanner = scan(data)
    assert (scanner.whole, scanner.malformed) == (False, False)


def test_the_part_of_a_text_that_came_can_be_seen() -> None:
    _, scanner = scan(b'{"b": {"a": 7, "c": {"a": "half a sen')
    assert scanner.partial() == {"b": {"a": 7, "c": {"a": LongText(10)}}}
    scanner.feed(b'tence"}}}')
    assert scanner.partial() is None
    _, scanner = scan(b'{"a": 123')
    assert scanner.partial() == {}, "the number may go on"


def test_long_strings_are_replaced_by_their_size() -> None:
    for size in (LONGEST_STRING, LONGEST_STRING + 1, 50_000):
        found, _ = scan(json.dumps({"a": "x" * size}).encode(), 700)
        assert found == [{"a": "x" * size if size <= LONGEST_STRING else LongText(size)}]


def test_a_key_of_any_length_is_passed_over() -> None:
    found, _ = scan(b'{"' + b"k" * 50_000 + b'": {"a": 1}, "a": 2}', 700)
    assert found == [{"a": 2}]


def test_a_number_of_too_many_digits_is_kept_as_none_that_counts() -> None:
    assert scan(b'{"a": ' + b"9" * 10_000 + b"}", 700)[0] == [{"a": float("inf")}]


def test_a_list_is_kept_up_to_its_bound_and_read_to_its_end() -> None:
    data = b'{"c": [' + b'{"b": 1},' * (LONGEST_LIST + 500) + b'{"b": 2}], "a": 3}'
    for size in (1 << 20, 700):
        (document,), scanner = scan(data, size)
        assert len(document["c"]) == LONGEST_LIST
        assert document["a"] == 3
        assert scanner.whole


def test_skipped_values_cost_no_steps_of_their_own() -> None:
    flat = b'{"d": [' + b'{"x": [1, "}]", {}]},' * 10_000 + b"0], " + b'"a": 1}'
    found, scanner = scan(flat)
    assert found == [{"a": 1}]
    assert scanner.steps < 50


def test_steps_grow_with_the_bytes_of_the_worst_text_and_not_faster() -> None:
    def steps(count: int) -> int:
        return scan(b'{"d":[0,' * count, 1_000)[1].steps

    assert steps(20_000) <= 2.1 * steps(10_000)
