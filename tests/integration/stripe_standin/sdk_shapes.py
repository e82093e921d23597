"""Whether an answer is what the SDK's own classes say Stripe answers."""

from __future__ import annotations

import builtins
import inspect
import sys
import types
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stripe import StripeObject

_LEAVES: dict[Any, Any] = {str: str, int: int, bool: bool, float: (int, float), Decimal: str}


def differences(body: dict[str, Any], kind: type[StripeObject], path: str = "") -> list[str]:
    """What the SDK would not expect: unknown fields, missing ones that are never null, wrong types or values."""
    fields = _fields(kind)
    path = path or kind.__name__
    found = [f"{path}.{name} is unknown" for name in body if name not in fields]
    for name, hint in fields.items():
        if name in body:
            found += _value_differences(body[name], hint, f"{path}.{name}")
        elif not _may_be_null(hint):
            found.append(f"{path}.{name} is missing")
    return found


def _value_differences(value: Any, hint: Any, path: str) -> list[str]:
    kinds = [one for one in _alternatives(hint) if one is not type(None)]
    if value is None:
        return [] if _may_be_null(hint) else [f"{path} is null"]
    if Any in kinds:
        return []
    if isinstance(value, list):
        items = next((get_args(one)[0] for one in kinds if get_origin(one) is list), None)
        if items is None:
            return [f"{path} is a list"]
        return [line for index, one in enumerate(value) for line in _value_differences(one, items, f"{path}[{index}]")]
    if isinstance(value, dict):
        return _object_differences(value, kinds, path)
    return [] if any(_is_leaf(value, one) for one in kinds) else [f"{path} is {value!r}, not {hint}"]


def _object_differences(value: dict[str, Any], kinds: list[Any], path: str) -> list[str]:
    for kind in kinds:
        if value.get("object") == "list" or get_origin(kind) is dict or "Untyped" in str(kind):
            return []
        if isinstance(kind, type) and issubclass(kind, StripeObject):
            return differences(value, kind, path)
    return [f"{path} is an object"]


def _is_leaf(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    expected = _LEAVES.get(kind)
    return expected is not None and isinstance(value, expected) and isinstance(value, bool) == (expected is bool)


def _alternatives(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        known = any(get_origin(one) is Literal for one in get_args(hint))
        # `Literal[...] | str` is an enumeration left open for newer versions; ours are the values of today
        return [one for part in get_args(hint) for one in _alternatives(part) if not (known and one is str)]
    return [hint]


def _may_be_null(hint: Any) -> bool:
    return type(None) in _alternatives(hint) or hint is Any


def _fields(kind: type[StripeObject]) -> dict[str, Any]:
    names = _Names(kind)
    own = {name for name in inspect.get_annotations(kind) if not name.startswith("_") and name.islower()}
    return {name: hint for name, hint in get_type_hints(kind, localns=names).items() if name in own}


class _Names(dict[str, Any]):
    """The names a class's annotations use; those that the SDK imports only for type checkers stand for anything."""

    def __init__(self, kind: type) -> None:
        super().__init__(vars(builtins) | vars(sys.modules[kind.__module__]) | vars(kind))

    def __missing__(self, name: str) -> Any:
        return Any
