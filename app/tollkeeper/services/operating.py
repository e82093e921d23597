"""Operating: who works at the desk. With the token that the settings name, or as the host app says."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeAlias

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, TollkeeperError
from tollkeeper.services.identifying import Scope, api_key_in
from tollkeeper.services.signing import read_note, signed

Operator: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]
"""The host app's own word: the operator's name for the audit trail, or None for who is none."""

SESSION_SECONDS = 8 * 3_600
NAMELESS = "desk"


class OperatorUnknown(TollkeeperError):
    """Nobody who may work at the desk."""


async def named_operator(operator: Operator, scope: Scope) -> str:
    """The operator by the host app's word; `OperatorUnknown` for anybody else."""
    found = operator(scope)
    name = await found if inspect.isawaitable(found) else found
    if name is None:
        raise OperatorUnknown
    try:
        return plain_text(name, "operator")
    except InvalidInput:
        raise OperatorUnknown from None


def begin_desk_session(token: str, presented: str, name: str, now: datetime) -> str:
    """A note for a cookie, for eight hours; `OperatorUnknown` for a wrong token, `InvalidInput` for a name that is none."""
    if not _same(token, presented):
        raise OperatorUnknown
    return signed([plain_text(name, "name"), int(now.timestamp()) + SESSION_SECONDS], token.encode())


def operator_of_session(token: str, session: str, now: datetime) -> str:
    """Who works at the desk by this cookie; `OperatorUnknown` for one that is forged or over, or of another token."""
    try:
        note = read_note(session)
        name, until = note.values
        if note.is_signed_with(token.encode()) and now.timestamp() < int(until):
            return plain_text(name, "name")
    except (InvalidInput, ValueError, TypeError):
        pass
    raise OperatorUnknown


def operator_by_header(token: str, scope: Scope) -> str | None:
    """A program that shows the token as its bearer token; None where none is shown, `OperatorUnknown` for a wrong one."""
    presented = api_key_in(scope)
    if presented is None:
        return None
    if not _same(token, presented):
        raise OperatorUnknown
    return NAMELESS


def _same(token: str, presented: str) -> bool:
    return hmac.compare_digest(token.encode(), presented.encode("utf-8", "surrogatepass"))
