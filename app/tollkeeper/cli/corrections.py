"""The commands of `tollkeeper invoices` with which a person corrects what the close made, each with a name and a reason."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import instant, print_json, print_table
from tollkeeper.domain.errors import NotFound


def invoice_uuid(text: str) -> UUID:
    """An invoice's id; what is none names no invoice."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("invoice", text[:60]) from None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def parked(as_json: bool) -> None:
    """List periods that the close set aside for a person to look at, and why. Exit status 1 if there are any."""
    from tollkeeper.domain.currency import display
    from tollkeeper.services.releasing import list_parked

    found = list_parked(runtime().database)
    if as_json:
        print_json(found)
    elif found:
        header = ("customer", "period start", "usage", "why")
        rows = [
            (one.user_id, instant(one.period_start), display(one.spent, one.currency), one.parked_reason)
            for one in found
        ]
        print_table(header, rows, right=frozenset({2}))
    if found:
        click.get_current_context().exit(1)


@click.command()
@click.argument("user_id")
@click.argument("period_start", type=INSTANT)
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why it is right.")
def release(user_id: str, period_start: datetime, by: str, reason: str) -> None:
    """Let a parked period be billed by the next close. Sums that do not agree have to be mended first."""
    from tollkeeper.services import releasing

    here = runtime()
    why = releasing.release(here.database, user_id, period_start, by=by, reason=reason, now=here.clock.now())
    click.echo(f"{user_id}: the period of {instant(period_start)} is released; it was parked because {why}")


@click.command()
@click.argument("user_id")
@click.option("--amount", required=True, help='Money such as "-5.00"; below zero in the customer\'s favour.')
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why; it stands on the invoice.")
@click.option(
    "--id", "adjustment_id", type=click.UUID, help="Makes the call repeatable: the same id is the same adjustment."
)
def adjust(user_id: str, amount: str, by: str, reason: str, adjustment_id: UUID | None) -> None:
    """Add an amount to a customer's next invoice, or take one off. The adjustment's id is the last line printed.

    A draft that is there already has it once it is drafted anew (invoices redraft).
    """
    from tollkeeper.domain.currency import display, parse_major
    from tollkeeper.services import adjusting
    from tollkeeper.services.onboarding import currency_of

    here = runtime()
    sign = -1 if amount.startswith("-") else 1
    minor = sign * parse_major(amount.removeprefix("-"), currency_of(here.database, user_id))
    made = adjusting.adjust(
        here.database,
        user_id,
        minor,
        by=by,
        reason=reason,
        adjustment_id=adjustment_id or uuid4(),
        now=here.clock.now(),
    )
    where = "on the next invoice" if made.invoice_id is None else f"on invoice {made.invoice_id}"
    click.echo(f"{user_id}: {display(made.amount, made.currency)} {where}")
    click.echo(str(made.id))


@click.command()
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def adjustments(user_id: str, as_json: bool) -> None:
    """List what was adjusted by hand for a customer, and on which invoice it stands."""
    from tollkeeper.domain.currency import display
    from tollkeeper.services.adjusting import list_adjustments

    found = list_adjustments(runtime().database, user_id)
    if as_json:
        print_json(found)
        return
    rows = [
        (str(one.id), display(one.amount, one.currency), one.author, str(one.invoice_id or "-"), one.reason)
        for one in found
    ]
    print_table(("adjustment", "amount", "by", "invoice", "reason"), rows, right=frozenset({1}))


@click.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why.")
def void(invoice_id: str, by: str, reason: str) -> None:
    """Void a draft for good: what stands on it is written off. Credit and adjustments on it are there for the next one."""
    from tollkeeper.services import voiding

    here = runtime()
    old = voiding.void(here.database, invoice_uuid(invoice_id), by=by, reason=reason, now=here.clock.now())
    click.echo(f"invoice {old.id} of {old.user_id} is void")


@click.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why.")
def redraft(invoice_id: str, by: str, reason: str) -> None:
    """Draft an invoice anew from all that is stored by now. The old draft is void and kept; the new one's id is printed last."""
    from tollkeeper.domain.currency import display
    from tollkeeper.services import voiding

    here = runtime()
    new = voiding.redraft(
        here.database,
        invoice_uuid(invoice_id),
        by=by,
        reason=reason,
        now=here.clock.now(),
        collect=here.settings.collect,
    )
    if new is None:
        click.echo(f"invoice {invoice_id} is void, and there is nothing to bill any more")
        return
    total = display(new.total_amount, new.currency)
    click.echo(f"{new.user_id}: drafted anew as revision {new.revision}, {total}; invoice {invoice_id} is void")
    click.echo(str(new.id))


CORRECTIONS = (parked, release, adjust, adjustments, void, redraft)
