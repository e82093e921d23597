"""Checking parameters against the request types of the installed SDK.

Every operation of Stripe has a `TypedDict` in `stripe.params`, generated from Stripe's own specification: names, types,
what is required, which values an enumeration has. Reading them keeps the stand-in in step with the SDK installed.

How those types are to be read: `Literal["a", "b"] | str` is an enumeration (the `str` is there for values that a newer
API may add; the API itself refuses others), `Literal[""]` in a union means that an empty string unsets the field, and
`RequestOptions` are the SDK's own options, never sent.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions

from tollkeeper.testing.stripe_standin.forms import Form
from tollkeeper.testing.stripe_standin.problem import (
    Problem,
    empty_parameter,
    invalid,
    missing_parameter,
    not_one_of,
    unknown_parameter,
)

UNSET = ""
"""What a field holds that the caller asks to be emptied."""

_LEAVES: dict[Any, tuple[str, re.Pattern[str], Any]] = {
    int: ("integer", re.compile(r"-?[0-9]{1,19}"), int),
    bool: ("boolean", re.compile("true|false"), "true".__eq__),
    Decimal: ("decimal", re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,12})?"), Decimal),
    float: ("number", re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,12})?"), Decimal),
}


def read_params(form: Form, shape: type) -> dict[str, Any]:
    """The parameters with their types, or the `Problem` that Stripe would answer.

    Objects become dictionaries, lists lists, numbers `int` or `Decimal` (never a float), and what is to be emptied
    `UNSET`.
    """
    return _object(form, shape, "")


@cache
def _fields(shape: type) -> dict[str, tuple[Any, bool]]:
    """Each field's type, and whether it is required."""
    only_for_typing = {"StripeContext": object, "Mapping": Mapping}
    hints = get_type_hints(shape, localns=only_for_typing, include_extras=True)
    return {
        name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
        for name, hint in hints.items()
        if name not in RequestOptions.__annotations__
    }


def _object(form: Form, shape: type, path: str) -> dict[str, Any]:
    fields = _fields(shape)
    for name in form:
        if name not in fields:
            raise unknown_parameter(_join(path, name))
    for name, (_, required) in fields.items():
        if required and name not in form:
            raise missing_parameter(_join(path, name))
    return {name: _value(node, fields[name][0], _join(path, name)) for name, node in form.items()}


def _value(node: str | Form, kind: Any, path: str) -> Any:
    kinds = _alternatives(kind)
    if isinstance(node, dict):
        return _structure(node, kinds, path)
    if node == UNSET and _may_be_unset(kinds):
        return UNSET
    return _leaf(node, kinds, path)


def _alternatives(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        return [one for alternative in get_args(kind) for one in _alternatives(alternative)]
    return [kind]


def _may_be_unset(kinds: list[Any]) -> bool:
    return any(get_origin(kind) is Literal and UNSET in get_args(kind) for kind in kinds)


def _structure(form: Form, kinds: list[Any], path: str) -> Any:
    problem: Problem = invalid(path, "string", "an object")
    for kind in kinds:
        try:
            if get_origin(kind) is list:
                return _list(form, get_args(kind)[0], path)
            if get_origin(kind) is dict:
                return {name: _entry(node, get_args(kind)[1], _join(path, name)) for name, node in form.items()}
            if hasattr(kind, "__total__"):
                return _object(form, kind, path)
        except Problem as refusal:
            problem = refusal
    raise problem


def _list(form: Form, kind: Any, path: str) -> list[Any]:
    if not all(re.fullmatch("[0-9]{1,4}", index) for index in form):
        raise invalid(path, "array", "an object")
    return [_value(form[index], kind, f"{path}[{index}]") for index in sorted(form, key=int)]


def _entry(node: str | Form, kind: Any, path: str) -> Any:
    """A value under a free key. An empty string is allowed: in metadata it takes the key away."""
    return UNSET if node == UNSET else _value(node, kind, path)


def _leaf(text: str, kinds: list[Any], path: str) -> Any:
    choices = {choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)} - {UNSET}
    if text in choices:
        return text
    for kind, (_, pattern, read) in _LEAVES.items():
        if kind in kinds and pattern.fullmatch(text):
            return read(text)
    if str in kinds and not choices:
        if text == UNSET:
            raise empty_parameter(path)
        return text
    raise _unreadable(text, kinds, choices, path)


def _unreadable(text: str, kinds: list[Any], choices: set[Any], path: str) -> Problem:
    for kind, (name, _, _) in _LEAVES.items():
        if kind in kinds:
            return invalid(path, name, text)
    if choices:
        return not_one_of(path, choices)
    return invalid(path, "array" if any(get_origin(kind) is list for kind in kinds) else "object", text)


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
