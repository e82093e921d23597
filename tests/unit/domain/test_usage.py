"""Usage: what one request used, and what that adds to each meter."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.usage import MAX_UNITS, TOKEN_TYPES, TokenType, Usage, quantities


def test_input_is_parted_without_overlap_and_every_event_is_one_request() -> None:
    usage = Usage(
        "gpt-4o",
        tokens_in=1_000,
        tokens_out=500,
        cached_tokens_in=600,
        cache_write_tokens_in=300,
        reasoning_tokens_out=400,
        compute_minutes=Decimal("0.25"),
        units={"images": Decimal(3)},
    )
    assert quantities(usage) == {
        ("gpt-4o", "input"): 100,
        ("gpt-4o", "cached_input"): 600,
        ("gpt-4o", "cache_write"): 300,
        ("gpt-4o", "output"): 500,
        ("gpt-4o", "compute_minutes"): Decimal("0.25"),
        ("gpt-4o", "requests"): 1,
        ("gpt-4o", "images"): Decimal(3),
    }


def test_what_was_not_used_is_left_out() -> None:
    assert quantities(Usage("unknown", units={"images": Decimal(0)})) == {("unknown", "requests"): 1}


def test_the_token_types_stand_in_the_order_in_which_an_allowance_is_used() -> None:
    assert TOKEN_TYPES == ("input", "cached_input", "cache_write", "output")
    assert list(TOKEN_TYPES) == list(TokenType)


def test_the_four_token_types_add_up_to_all_tokens() -> None:
    usage = Usage("m", tokens_in=7, tokens_out=5, cached_tokens_in=2, cache_write_tokens_in=5)
    assert sum(n for (_, meter), n in quantities(usage).items() if meter in TOKEN_TYPES) == 12


def test_the_largest_counts_are_taken() -> None:
    usage = Usage("m", tokens_in=2**63 - 1, tokens_out=2**63 - 1, compute_minutes=Decimal(2**63 - 1))
    assert quantities(usage)["m", "input"] == 2**63 - 1


def test_minutes_are_kept_with_nine_decimals() -> None:
    # 37 seconds, as a route would divide them: better rounded than an event lost
    assert Usage("m", compute_minutes=Decimal(37) / 60).compute_minutes == Decimal("0.616666667")
    assert Usage("m", compute_minutes=2).compute_minutes == Decimal(2)  # type: ignore[arg-type] # people write 2
    assert Usage("m", units={"s": Decimal("1E-12")}).units == {"s": Decimal(0)}


def test_the_units_of_a_usage_cannot_be_changed_afterwards() -> None:
    counted = {"images": Decimal(1)}
    usage = Usage("m", units=counted)
    counted["images"] = Decimal(2)
    assert usage.units["images"] == 1
    with pytest.raises(TypeError):
        usage.units["images"] = Decimal(3)  # type: ignore[index] # that is the point


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"tokens_in": -1}, "tokens_in"),
        ({"tokens_out": -1}, "tokens_out"),
        ({"tokens_in": 1.0}, "tokens_in"),
        ({"tokens_in": True}, "tokens_in"),
        ({"tokens_in": "1"}, "tokens_in"),
        ({"tokens_in": None}, "tokens_in"),
        ({"tokens_in": Decimal(1)}, "tokens_in"),
        ({"tokens_in": 2**63}, "tokens_in"),
        ({"tokens_in": 5, "cached_tokens_in": 6}, "cached_tokens_in"),
        ({"tokens_in": 5, "cached_tokens_in": 3, "cache_write_tokens_in": 3}, "cached_tokens_in"),
        ({"tokens_out": 5, "reasoning_tokens_out": 6}, "reasoning_tokens_out"),
        ({"cache_write_tokens_in": -1}, "cache_write_tokens_in"),
        ({"compute_minutes": 0.5}, "compute_minutes"),
        ({"compute_minutes": True}, "compute_minutes"),
        ({"compute_minutes": Decimal("NaN")}, "compute_minutes"),
        ({"compute_minutes": Decimal("sNaN")}, "compute_minutes"),
        ({"compute_minutes": Decimal("Infinity")}, "compute_minutes"),
        ({"compute_minutes": Decimal("-0.1")}, "compute_minutes"),
        ({"compute_minutes": Decimal(2**63)}, "compute_minutes"),
        ({"compute_minutes": Decimal("1E+1000000")}, "compute_minutes"),
        ({"compute_minutes": Decimal("1E-1000000")}, "amount"),
        ({"compute_minutes": "1"}, "compute_minutes"),
        ({"compute_minutes": Fraction(1, 3)}, "compute_minutes"),
        ({"units": {"images": -1}}, "units.images"),
        ({"units": {"images": 1.5}}, "units.images"),
        ({"units": {"": 1}}, "units"),
        ({"units": {"a b": 1}}, "units"),
        ({"units": {"a\n": 1}}, "units"),
        ({"units": {"x" * 65: 1}}, "units"),
        ({"units": {"input": 1}}, "units"),
        ({"units": {"requests": 1}}, "units"),
        ({"units": {"*": 1}}, "units"),
        ({"units": {1: 1}}, "units"),
        ({"units": {f"u{number}": 1 for number in range(MAX_UNITS + 1)}}, "units"),
        ({"units": [("images", 1)]}, "units"),
        ({"model_id": ""}, "model_id"),
        ({"model_id": "a\x00b"}, "model_id"),
        ({"model_id": "a\nb"}, "model_id"),
        ({"model_id": "\ud800"}, "model_id"),
        ({"model_id": "m" * 256}, "model_id"),
        ({"model_id": "é" * 128}, "model_id"),
        ({"model_id": None}, "model_id"),
    ],
)
def test_what_cannot_have_been_used_is_refused_by_name(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Usage(**{"model_id": "m", **fields})
    assert refusal.value.field == wrong
