"""`tollkeeper credits`: prepaid money and granted tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import click

from tollkeeper.cli.edge import Mistake, runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import instant, number, print_json, print_table

if TYPE_CHECKING:
    from tollkeeper.storage.credits import StoredGrant


@click.group()
def credits() -> None:  # noqa: A001 - the command's own name
    """Grant prepaid money and tokens, and list what is left."""


@credits.command()
@click.argument("user_id")
@click.option("--amount", help="Money in the currency of the customer's plan, such as 50.00.")
@click.option("--tokens", type=click.IntRange(min=1), help="Tokens instead of money.")
@click.option(
    "--expires", "expires_at", type=INSTANT, help="Good for the period that this instant lies in, and no later."
)
@click.option("--priority", type=int, default=50, show_default=True, help="The lowest is drawn on first.")
@click.option("--every", type=click.Choice(["month"]), help="Comes anew with each billing period.")
@click.option("--carry-over", "carries_over", is_flag=True, help="With --every: what is left is carried over.")
@click.option("--at-most", help="With --carry-over: the most there can be at the start of a period.")
def grant(
    user_id: str,
    amount: str | None,
    tokens: int | None,
    expires_at: datetime | None,
    priority: int,
    every: Literal["month"] | None,
    carries_over: bool,
    at_most: str | None,
) -> None:
    """Give a customer credit. Each call is another grant; its id is the last line printed."""
    from tollkeeper.services import crediting

    if (amount is None) == (tokens is None):
        raise Mistake("expected either --amount or --tokens")
    here = runtime()
    unit, quantity = _quantity(user_id, amount, tokens)
    made = crediting.grant(
        here.database,
        user_id,
        unit=unit,
        amount=quantity,
        now=here.clock.now(),
        expires_at=expires_at,
        priority=priority,
        every=every,
        carries_over=carries_over,
        at_most=None if at_most is None else _bound(at_most, unit),
    )
    click.echo(f"{user_id}: granted {_shown(made.amount, unit)}{' every month' if every else ''}")
    click.echo(str(made.id))


@credits.command("list")
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_credits(user_id: str, as_json: bool) -> None:
    """List a customer's grants and what is left of each."""
    from tollkeeper.services import crediting

    found = crediting.list_grants(runtime().database, user_id)
    if as_json:
        print_json(found)
        return
    header = ("grant", "amount", "left", "priority", "granted", "expires", "every")
    print_table(header, [_row(one) for one in found], right=frozenset({1, 2, 3}))


def _quantity(user_id: str, amount: str | None, tokens: int | None) -> tuple[str, int]:
    from tollkeeper.domain.credit import TOKENS
    from tollkeeper.domain.currency import parse_major
    from tollkeeper.services.onboarding import currency_of

    if tokens is not None:
        return TOKENS, tokens
    currency = currency_of(runtime().database, user_id)
    return currency, parse_major(amount or "", currency)


def _bound(text: str, unit: str) -> int:
    from tollkeeper.domain.credit import TOKENS
    from tollkeeper.domain.currency import parse_major

    if unit != TOKENS:
        return parse_major(text, unit, "at_most")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Mistake("at_most: expected a whole number of tokens")
    return int(text)


def _shown(amount: int, unit: str) -> str:
    from tollkeeper.domain.credit import TOKENS
    from tollkeeper.domain.currency import display

    return f"{number(amount)} tokens" if unit == TOKENS else display(amount, unit)


def _row(one: StoredGrant) -> tuple[str, ...]:
    return (
        str(one.id),
        _shown(one.amount, one.unit),
        _shown(one.balance, one.unit),
        str(one.priority),
        instant(one.granted_at),
        "-" if one.expires_at is None else instant(one.expires_at),
        one.every or "-",
    )
