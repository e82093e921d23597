"""`tollkeeper audit`: who changed what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import instant, plain, print_json, print_table

if TYPE_CHECKING:
    from tollkeeper.storage.audit import AuditEntry


@click.group()
def audit() -> None:
    """Show who changed what, and when."""


@audit.command()
@click.option("--user", "user_id", metavar="USER_ID", help="Only what concerns this customer.")
@click.option("--kind", help="A kind such as invoice.finalized, or its first part for all of a thing, such as key.")
@click.option(
    "--last", "limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(user_id: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """Show the newest entries of the audit trail, oldest first."""
    from tollkeeper.services.auditing import trail

    found = trail(runtime().database, user_id=user_id, kind=kind, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(("at", "who", "what", "customer", "about", "change"), [_row(entry) for entry in found])


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        instant(entry.at.replace(microsecond=0)),
        entry.actor,
        entry.kind,
        entry.user_id or "-",
        entry.subject,
        _change(entry),
    )


def _change(entry: AuditEntry) -> str:
    """`spend_cap: 1000 -> 2000, plan: …`, and the reason where there is one."""
    before, after = entry.before or {}, entry.after or {}
    parts = []
    for name in {**before, **after}:
        was = f"{_short(before[name])} -> " if name in before else ""
        parts.append(f"{name}: {was}{_short(after.get(name))}")
    return "; ".join([", ".join(parts), *([entry.reason] if entry.reason else [])])


def _short(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(plain(value))
    return text if len(text) <= 60 else f"{text[:59]}…"
