"""The package and the oracle agree to the smallest unit. `python benchmarks/oracle.py` does this for 10,000 histories."""

from __future__ import annotations

import ast
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.domain import oracle
from unit.domain.agreement import disagreements
from unit.domain.history import random_history


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_comes_to_what_the_oracle_says(random: Random) -> None:
    assert list(disagreements(random_history(random), random)) == []


@pytest.mark.parametrize("seed", range(400))
def test_a_slice_of_the_long_run_agrees_with_the_oracle(seed: int) -> None:
    random = Random(seed)
    assert list(disagreements(random_history(random), random)) == []


def test_the_oracle_shares_no_code_with_the_package() -> None:
    tree = ast.parse(Path(oracle.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name for name in imported if name and name.startswith(("tollkeeper", "unit"))}
