"""The headers by which a route states its own use."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.extraction.headers import HeaderUsage, read_usage_headers, strip_usage_headers

Headers = list[tuple[bytes, bytes]]


def stated(**values: bytes) -> HeaderUsage:
    headers = [(b"content-type", b"text/plain"), *((f"x-{n.replace('_', '-')}".encode(), v) for n, v in values.items())]
    usage = read_usage_headers(headers)
    assert usage is not None
    return usage


def test_no_header_of_ours_states_nothing() -> None:
    assert read_usage_headers([(b"content-type", b"text/plain"), (b"x-tokens", b"5")]) is None
    assert read_usage_headers([]) is None


@pytest.mark.parametrize(
    ("values", "tokens_in", "tokens_out"),
    [
        ({"tokens_in": b"12", "tokens_out": b"30"}, 12, 30),
        ({"tokens_in": b"12"}, 12, 0),
        ({"tokens_out": b"30"}, 0, 30),
        ({"tokens_used": b"42"}, 0, 42),
        ({"tokens_used": b"42", "tokens_in": b"12"}, 12, 30),  # 42 - 12
        ({"tokens_used": b"42", "tokens_in": b"42"}, 42, 0),
        ({"tokens_used": b"42", "tokens_in": b"12", "tokens_out": b"30"}, 12, 30),
        ({"tokens_used": b"42", "tokens_out": b"30"}, 12, 30),
        ({"tokens_in": b"0", "tokens_out": b"000"}, 0, 0),
        ({"tokens_in": b" 12\t"}, 12, 0),
        ({"tokens_in": b"9" * 18}, 10**18 - 1, 0),
    ],
)
def test_what_the_input_does_not_explain_is_output(values: dict[str, bytes], tokens_in: int, tokens_out: int) -> None:
    assert stated(**values) == HeaderUsage(tokens_in, tokens_out, counted=True)


@pytest.mark.parametrize(
    "value",
    [b"", b"-5", b"+5", b"1_000", b"1,000", b"5.0", b"5 6", "５".encode(), "٥".encode(), b"0x5", b"1e3", b"9" * 19, b"\xff",
     b"5\x00", b"5\n", b"NaN", b"five"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["tokens_in", "tokens_out", "tokens_used"])
def test_what_is_no_count_spoils_the_counts_beside_it(name: str, value: bytes) -> None:
    for usage in (stated(**{name: value}), stated(**{"tokens_in": b"7", "tokens_out": b"7", name: value})):
        assert usage == HeaderUsage(0, 0, invalid=True, counted=True)


@pytest.mark.parametrize(
    "values",
    [
        {"tokens_used": b"11", "tokens_in": b"12"},
        {"tokens_used": b"11", "tokens_out": b"12"},
        {"tokens_used": b"42", "tokens_in": b"12", "tokens_out": b"31"},
    ],
)
def test_counts_that_contradict_each_other_are_not_believed(values: dict[str, bytes]) -> None:
    assert stated(**values) == HeaderUsage(0, 0, invalid=True, counted=True)


@pytest.mark.parametrize("name", [b"x-tokens-in", b"X-Tokens-Used", b"x-model-id", b"X-COMPUTE-MINUTES"])
def test_a_header_that_comes_twice_is_not_believed_even_if_it_says_the_same(name: bytes) -> None:
    usage = read_usage_headers([(name, b"5"), (name.lower(), b"5")])
    assert usage is not None
    assert usage.invalid
    assert (usage.tokens_in, usage.tokens_out, usage.compute_minutes, usage.model_id) == (0, 0, Decimal(0), None)


@pytest.mark.parametrize(
    ("value", "minutes"), [(b"5", "5"), (b"0.25", "0.25"), (b"123456789.123456789", "123456789.123456789"),
     (str(1 / 60).encode(), "0.016666667"),  # a stopwatch's second, 0.016666666666666666
     (str(0.00002 / 3).encode(), "0.000006667"),  # 6.666666666666667e-06
     (b"1e-999", "0")],
)  # fmt: skip
def test_compute_minutes_are_a_decimal_as_it_is_printed_kept_to_nine_places(value: bytes, minutes: str) -> None:
    assert stated(compute_minutes=value) == HeaderUsage(compute_minutes=Decimal(minutes))


@pytest.mark.parametrize(
    "value", [b"", b"-1", b".5", b"5.", b"1e3", b"NaN", b"1_0", b"1" * 10, b"0." + b"1" * 31, b"1e-1000", b"Infinity"]
)
def test_other_minutes_are_not_believed_and_leave_the_tokens_alone(value: bytes) -> None:
    usage = stated(compute_minutes=value, tokens_in=b"7")
    assert usage == HeaderUsage(7, 0, Decimal(0), invalid=True, counted=True)


@pytest.mark.parametrize(
    ("value", "model"),
    [(b"m-small", "m-small"), (b"a/b:c@2", "a/b:c@2"), ("modèle".encode(), "modèle"), (b"m" * 255, "m" * 255), (b"a b", "a b")],
)  # fmt: skip
def test_a_model_is_named_by_printable_utf_8(value: bytes, model: str) -> None:
    assert stated(model_id=value) == HeaderUsage(model_id=model)


@pytest.mark.parametrize(
    "value", [b"", b" ", b"m" * 256, "é".encode() * 128, b"m\x00", b"m\x1b[0m", b"\xff", "m\u2028".encode()]
)
def test_another_model_is_not_believed_and_leaves_the_tokens_alone(value: bytes) -> None:
    assert stated(model_id=value, tokens_in=b"7") == HeaderUsage(7, 0, invalid=True, counted=True)


def test_every_header_of_ours_is_removed_in_any_case_and_nothing_else() -> None:
    ours: Headers = [
        (b"X-Tokens-Used", b"5"), (b"x-tokens-used", b"5"), (b"X-TOKENS-IN", b"5"), (b"x-Tokens-Out", b"5"),
        (b"X-Model-Id", b"m"), (b"x-compute-minutes", b"1"),
    ]  # fmt: skip
    others: Headers = [
        (b"content-type", b"a"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"x-tokens-used-up", b"5"),
    ]
    mixed = [header for pair in zip(others, ours, strict=False) for header in pair] + ours[4:]
    assert strip_usage_headers(mixed) == others
    assert strip_usage_headers(others) == others
    assert strip_usage_headers([]) == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-tokens-in", b"X-Tokens-Out", b"x-tokens-used", b"x-model-id", b"x-compute-minutes"]),
            st.binary(max_size=12) | st.integers().map(lambda number: str(number).encode()),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_headers_raise(headers: Headers) -> None:
    usage = read_usage_headers(headers)
    assert usage is not None
    assert usage.tokens_in >= 0
    assert usage.tokens_out >= 0
    assert strip_usage_headers(headers) == []
