from __future__ import annotations

import pytest

from tollkeeper.testing.stripe_standin.forms import Form, read_form
from tollkeeper.testing.stripe_standin.problem import Problem


@pytest.mark.parametrize(
    ("encoded", "form"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=", {"a": ""}),
        (b"a[b]=1&a[c]=2", {"a": {"b": "1", "c": "2"}}),
        (b"a[b][0][c]=x", {"a": {"b": {"0": {"c": "x"}}}}),
        (b"a%5Bb%5D=1", {"a": {"b": "1"}}),
        (b"a[]=x&a[]=y", {"a": {"0": "x", "1": "y"}}),
        (b"a=%C3%A9+%2B", {"a": "é +"}),
    ],
)
def test_nested_names_become_nested_forms(encoded: bytes, form: Form) -> None:
    assert read_form(encoded) == form


@pytest.mark.parametrize(
    "encoded",
    [
        b"a",  # neither a value nor an equals sign
        b"a=%FF",  # not UTF-8
        b"a=\xc3\xa9",  # not escaped
        b"a[b=1",
        b"[a]=1",
        b"a]b=1",
        b"=1",
        b"a[][b]=1",  # which element?
        b"a=1&a=2",
        b"a=1&a[b]=2",
        b"a[b]=2&a=1",
        b"a[0]=x&a[0]=y",
    ],
)
def test_what_cannot_be_read_one_way_only_is_refused(encoded: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        read_form(encoded)

    assert refusal.value.status == 400
