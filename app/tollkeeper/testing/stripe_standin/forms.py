"""Reading `a[b][0][c]=x` into nested dictionaries, the way Stripe writes parameters into forms and query strings."""

from __future__ import annotations

import json
import re
from typing import Union
from urllib.parse import parse_qsl

from tollkeeper.testing.stripe_standin.problem import Problem, bad_request

Form = dict[str, Union[str, "Form"]]
"""Leaves are strings; a list is a form whose keys are its indexes."""

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY = re.compile(r"\[([^\[\]]*)\]")


def read_form(encoded: bytes) -> Form:
    """The parameters in a form body or query string. A name given twice or used as value and object is refused."""
    form: Form = {}
    for name, value in _pairs(encoded):
        _put(form, _steps(name), value, name)
    return form


def read_json(encoded: bytes) -> Form:
    """The parameters in a JSON body of API v2, in the shape that a form has."""
    try:
        value = json.loads(encoded.decode("utf-8")) if encoded else {}
    except (ValueError, RecursionError):
        raise bad_request(None, "The body is not JSON in UTF-8.") from None
    form = _as_form(value)
    if not isinstance(value, dict) or isinstance(form, str):
        raise bad_request(None, "The body is not a JSON object.")
    return form


def _as_form(value: object) -> str | Form:
    if isinstance(value, dict):
        return {name: _as_form(item) for name, item in value.items()}
    if isinstance(value, list):
        return {str(index): _as_form(item) for index, item in enumerate(value)}
    return value if isinstance(value, str) else json.dumps(value)


def _pairs(encoded: bytes) -> list[tuple[str, str]]:
    try:
        text = encoded.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError:
        raise bad_request(None, "The parameters are not a form in UTF-8.") from None


def _steps(name: str) -> list[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise bad_request(name, f"Invalid parameter name: {name}")
    return [match[1], *_KEY.findall(match[2])]


def _put(form: Form, steps: list[str], value: str, name: str) -> None:
    *path, last = steps
    for step in path:
        below = form.setdefault(_named(step, name), {})
        if isinstance(below, str):
            raise _used_twice(name)
        form = below
    last = last or str(len(form))  # `a[]=x` appends
    if last in form:
        raise _used_twice(name)
    form[last] = value


def _named(step: str, name: str) -> str:
    if not step:
        raise bad_request(name, f"Invalid parameter name: {name}; lists of objects need indexes, as in a[0][b]")
    return step


def _used_twice(name: str) -> Problem:
    return bad_request(name, f"The parameter {name} is given twice.")
