"""What commands print: sentences and tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from tollkeeper.plain import exact, instant, number, plain

__all__ = ["Progress", "exact", "instant", "number", "plain", "print_json", "print_table", "working"]


def print_json(document: object) -> None:
    """The document and nothing else."""
    click.echo(json.dumps(plain(document), indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
    """Columns below one another; those in `right` hold figures. With colours on a terminal that has `rich`."""
    if sys.stdout.isatty() and _print_rich_table(header, rows, right):
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = (c.rjust(w) if n in right else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        click.echo("  ".join(cells).rstrip())


def _print_rich_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int]) -> bool:
    """False where `rich` is not installed."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column, name in enumerate(header):
        table.add_column(name, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell, _COLOURS.get(cell, "")) for cell in row])
    Console(file=sys.stdout, highlight=False).print(table)
    return True


_COLOURS = {
    **dict.fromkeys(("ok", "active", "paid", "confirmed", "acknowledged", "applied", "sent", "delivered"), "green"),
    **dict.fromkeys(("warning", "draft", "pending", "sending", "trial", "open"), "yellow"),
    **dict.fromkeys(("failed", "parked", "rejected", "suspended", "uncollectible"), "red"),
    **dict.fromkeys(("void", "closed", "ignored", "revoked"), "dim"),
}


class Progress:
    """One line on standard error that is written over; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._shown = self._stream.isatty()
        self._width = 0

    def show(self, line: str) -> None:
        """Write over what stands there."""
        if self._shown:
            self._stream.write("\r" + line.ljust(self._width))
            self._stream.flush()
            self._width = len(line)

    def clear(self) -> None:
        """Leave the line empty for whatever is printed next."""
        if self._width:
            self.show("")
            self._stream.write("\r")
            self._stream.flush()
            self._width = 0


@contextmanager
def working(on: str) -> Iterator[None]:
    """Show what is going on, and for how many seconds already, while the block runs."""
    progress = Progress()
    done = threading.Event()

    def tick() -> None:
        seconds = 1
        while not done.wait(1):
            progress.show(f"{on} … {seconds} s")
            seconds += 1

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        done.set()
        ticking.join()
        progress.clear()
