"""Importing: usage that happened elsewhere, out of a file.

Streams: a bounded number of rows of a bounded length is in memory at a time. An event's id makes it repeatable, so an import
that was cut off is simply run again, and passes quickly over what is stored. Rejected rows are kept in the quarantine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import IO, Literal, TypeAlias, TypeVar
from uuid import UUID

import psycopg

from tollkeeper.clock import Clock
from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.errors import InvalidInput, StoreUnavailable, TollkeeperError
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.refusal import ModelUnpriced
from tollkeeper.services.usage_row import RowReader, csv_rows, event_of, json_row
from tollkeeper.storage.database import Database, change, first_row
from tollkeeper.storage.quarantine import Refused, keep_refused
from tollkeeper.storage.settlement import Charge, Settled, Settlement

MAX_LINE_BYTES = 65_536
BATCH = 500
MOST_KEPT = 10_000
"""Of so many rejected rows of one import the quarantine keeps what they say; a file that is wrong from end to end is no use
there."""
KEPT_AT_ONCE = 100

_LOCK = 0x696D706F  # "impo": an id is unique over all months only while nobody else imports

Form: TypeAlias = Literal["jsonl", "csv"]
Line: TypeAlias = tuple[int, bytes | None]
"""Number and text; None in place of a line that is too long."""
T = TypeVar("T")


class Reason(str):
    """Why there is no event in a line."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was not stored, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """How many rows became events, were events already, and were not stored."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def rows(self) -> int:
        return self.accepted + self.duplicate + self.rejected


class ImportStopped(StoreUnavailable):
    """The database went away in the middle. What is stored stays, and importing the same file again is safe."""

    def __init__(self, cause: StoreUnavailable, summary: ImportSummary) -> None:
        super().__init__(
            f"{cause}; {summary.rows} rows are done, and importing the same file again counts none of them twice"
        )
        self.summary = summary


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom an import tells what it is doing."""

    rejected: Callable[[Rejected], None]
    progress: Callable[[ImportSummary], None]
    waiting: Callable[[], None]
    """Another import is running; this one goes on after it."""


def import_usage(database: Database, source: IO[bytes], form: Form | None, clock: Clock, watch: Watch) -> ImportSummary:
    """Store the rows of a file as events; bad rows are told to `watch` one by one and skipped.

    A form of None is found out from the first line. Imports of one database run one after the other. Raises `InvalidInput`
    for a CSV header that cannot be used, and `ImportStopped`.
    """
    lines = _lines(source)
    with database.transaction() as connection:
        # Nothing else happens in this transaction: it is there to hold the lock, however long that takes.
        change(connection, "SET LOCAL idle_in_transaction_session_timeout = 0")
        if not (first_row(connection, "SELECT pg_try_advisory_xact_lock(:lock) AS got", lock=_LOCK) or {})["got"]:
            watch.waiting()
            change(connection, "SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK)
        return asyncio.run(_Import(database, clock, watch).run(lines, form))


class _Import:
    """One import under way."""

    def __init__(self, database: Database, clock: Clock, watch: Watch) -> None:
        self._database = database
        self._settlement = Settlement(database.url, database.schema)
        self._clock = clock
        self._watch = watch
        self._summary = ImportSummary()
        self._kept = 0
        self._some_known = True  # the first batch tells whether this is a second run

    async def run(self, lines: Iterator[Line], form: Form | None) -> ImportSummary:
        read, rows = _reader(lines, form)
        async with self._settlement:
            for batch in _batches(rows, BATCH):
                await self._store(batch, read)
                self._watch.progress(self._summary)
        return self._summary

    async def _store(self, batch: list[Line], read: RowReader) -> None:
        """Store one batch, and tell of its bad rows in the order of the file."""
        now = self._clock.now()
        found = {number: _event(text, read, now) for number, text in batch}
        events = {number: event for number, event in found.items() if isinstance(event, UsageEvent)}
        try:
            settled = dict(zip(events, await self._settled(list(events.values()), now), strict=True))
        except StoreUnavailable as error:
            raise ImportStopped(error, self._summary) from error
        texts = dict(batch)
        refused = []
        for number, event in found.items():
            reason = self._counted(event if isinstance(event, Reason) else settled[number])
            if reason is not None:
                self._watch.rejected(Rejected(number, reason))
                refused.append(_refused(texts[number], read, events.get(number), reason))
        self._keep([row for row in refused if row is not None], now)

    async def _settled(self, events: list[UsageEvent], now: datetime) -> list[Settled | Exception]:
        """Store events. Where some of the last batch were known, those that are known are passed over first: a second run
        gets to where the first one stopped without a lock and without a write."""
        known: dict[UUID, Settled] = {}
        if self._some_known and events:
            known = await self._settlement.known(events)
        new = [event for event in events if event.id not in known]
        charges = [Charge(event, now, refuse_unpriced=True) for event in new]
        stored = iter(await self._settlement.store(charges, look_up=True) if charges else [])
        answers = [known[event.id] if event.id in known else next(stored) for event in events]
        self._some_known = any(isinstance(one, Settled) and one.status != "accepted" for one in answers)
        return answers

    def _counted(self, outcome: Settled | Exception | Reason) -> str | None:
        """Count a row; why it is rejected, if it is."""
        summary = self._summary
        if isinstance(outcome, Settled) and outcome.status == "accepted":
            self._summary = replace(summary, accepted=summary.accepted + 1)
        elif isinstance(outcome, Settled) and outcome.status == "duplicate":
            self._summary = replace(summary, duplicate=summary.duplicate + 1)
        else:
            self._summary = replace(summary, rejected=summary.rejected + 1)
            return outcome if isinstance(outcome, Reason) else reason_of(outcome)
        return None

    def _keep(self, refused: list[Refused], now: datetime) -> None:
        """Put what was rejected where a person finds it again."""
        rows = refused[: MOST_KEPT - self._kept]
        for start in range(0, len(rows), KEPT_AT_ONCE):
            with self._database.transaction() as connection:
                keep_refused(connection, rows[start : start + KEPT_AT_ONCE], now)
        self._kept += len(rows)


def _refused(text: bytes | None, read: RowReader, event: UsageEvent | None, reason: str) -> Refused | None:
    """A rejected row as the quarantine keeps it: as JSON where it could be read. None for a line that is too long to be one."""
    if text is None:
        return None
    plain = text.decode("utf-8", "replace").strip()
    try:
        row = read(plain)
    except InvalidInput:
        return Refused("import", plain, reason)
    named = [row.get(name) if isinstance(row.get(name), str) else None for name in ("id", "user_id")]
    event_id = named[0] if event is None else str(event.id)
    return Refused("import", json.dumps(row, default=str), reason, event_id, named[1])


def _event(text: bytes | None, read: RowReader, now: datetime) -> UsageEvent | Reason:
    """The event in a line, or why there is none; in words, since an error would keep alive all that led to it."""
    try:
        return event_of(read(_decoded(text)), now)
    except InvalidInput as error:
        return Reason(str(error))


def reason_of(outcome: Settled | Exception) -> str:
    """Why a row was not stored: `field: expected …`."""
    if isinstance(outcome, Settled):
        return "id: expected one that was not seen before with other content"
    if isinstance(outcome, CustomerUnknown):
        return "user_id: expected a customer that exists"
    if isinstance(outcome, ModelUnpriced):
        return "model_id: expected one that the customer's plan has a price for, because it refuses the others"
    if isinstance(outcome, psycopg.Error):
        return f"row: expected figures that the database takes, but {str(outcome).splitlines()[0]}"
    if isinstance(outcome, TollkeeperError):
        return str(outcome) if isinstance(outcome, InvalidInput) else f"row: {outcome}"
    raise outcome


def _reader(lines: Iterator[Line], form: Form | None) -> tuple[RowReader, Iterator[Line]]:
    """How to read the rows, and the rows; a header is used up."""
    first = next(lines, None)
    if first is None:
        return json_row, lines
    if form is None:
        form = "jsonl" if (first[1] or b"").lstrip().startswith(b"{") else "csv"
    if form == "jsonl":
        return json_row, chain([first], lines)
    return csv_rows(_decoded(first[1])), lines


def _lines(source: IO[bytes]) -> Iterator[Line]:
    """The lines that are not blank, by number, without a byte order mark."""
    number = 0
    while chunk := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        whole = len(chunk) <= MAX_LINE_BYTES
        while len(chunk) > MAX_LINE_BYTES and not chunk.endswith(b"\n"):
            chunk = source.readline(MAX_LINE_BYTES + 1)
        text = chunk.removeprefix(b"\xef\xbb\xbf") if number == 1 else chunk
        if not whole:
            yield number, None
        elif text.strip():
            yield number, text


def _decoded(text: bytes | None) -> str:
    if text is None:
        raise InvalidInput("row", f"at most {MAX_LINE_BYTES:,} bytes on one line")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("row", "UTF-8") from error


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
