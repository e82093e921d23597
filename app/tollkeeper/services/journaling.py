"""The journal: where usage waits on disk while the database is away.

Every process appends to a file of its own and holds a lock on it. What is written is fsynced before anybody is told that the
usage is safe. A file whose lock is free belongs to nobody any more (its process ended or was killed), so whoever finds it,
the same process later or a worker, offers its events to the database again, with the same ids, and removes it.

What the database refuses for its own sake, and would refuse again, goes to the file `refused` beside them, with the reason.
A worker on this machine takes it over into the quarantine (`tollkeeper usage quarantine`), where a person sees it; where none
runs, it is offered again once a person has mended the cause and renamed that file to a name that ends in `.jsonl`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.event import UsageEvent
from tollkeeper.storage.usage_json import usage_from_json, usage_to_json

log = logging.getLogger(__name__)

REPLAY_AT_ONCE = 500
HEEDED_FOR = timedelta(hours=1)
REFUSED = "refused"
Settle = Callable[[Sequence[UsageEvent]], Awaitable[object]]


class Journal:
    """One process's file. Not made before it is needed; may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._lock = Lock()  # a file that is let go of while it is written could be somebody else's socket

    @property
    def waiting(self) -> bool:
        """Whether this process has written anything that was not handed over."""
        return self._file is not None

    def append(self, events: Sequence[UsageEvent]) -> None:
        """Put events on disk for good; returns after the fsync. `OSError` where the disk refuses."""
        data = b"".join(_line(_to_json(event)) for event in events)
        with self._lock:
            if self._file is None:
                self._file = self._open()
            try:
                _write_for_good(self._file, data)
            except OSError:
                self._let_go()  # half a line may stand at its end: nothing may follow it
                raise

    def hand_over(self) -> None:
        """Let go of the file, so that a replay finds it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{uuid4()}.jsonl"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        keep_names(self._folder)
        return file


def refuse(folder: Path, event: UsageEvent, reason: Exception) -> None:
    """Put an event that the database does not take where a person finds it; returns after the fsync.

    `OSError` where the disk refuses.
    """
    line = _line({**_to_json(event), "reason": f"{type(reason).__name__}: {reason}"})
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(folder / REFUSED, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        cut_off = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        _write_for_good(file, b"\n" + line if cut_off else line)
        keep_names(folder)
    finally:
        os.close(file)
    log.error("REFUSED by the database, not billed, kept in %s: event %s: %s", folder / REFUSED, event.id, reason)


def complete_until(folder: Path, now: datetime) -> datetime:
    """Up to when nothing of this machine waits on disk: `now`, or when the first event happened that does.

    What has waited for longer than `HEEDED_FOR` is heeded no more: something is wrong with it, and it will be late usage.
    """
    waiting = [at for path in _files(folder) if (at := _first_instant(path)) is not None]
    return min((at for at in waiting if at > now - HEEDED_FOR), default=now)


def _first_instant(path: Path) -> datetime | None:
    try:
        return next((event.timestamp for event in _read(path)), None)
    except FileNotFoundError:
        return None  # replayed meanwhile


@contextmanager
def refused_lines(folder: Path) -> Iterator[list[str]]:
    """What stands in the `refused` file, which is emptied at the end of the block unless that raises.

    Nobody can add to it meanwhile: keep the block short.
    """
    try:
        file = os.open(folder / REFUSED, os.O_RDWR)
    except FileNotFoundError:
        yield []
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        with os.fdopen(os.dup(file), encoding="utf-8", errors="replace") as text:
            lines = [line for line in text.read().splitlines() if line.strip()]
        yield lines
        os.ftruncate(file, 0)
        os.fsync(file)
    finally:
        os.close(file)


def read_line(line: str) -> tuple[UsageEvent | None, str]:
    """The event in a line of the `refused` file, and why it was refused; None where the line is damaged."""
    try:
        value = json.loads(line)
        return _from_json(value), str(value.get("reason", "refused"))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, InvalidInput):
        return None, "row: expected a whole line of the journal; this one is damaged"


def count_refused(folder: Path) -> int:
    """How many events wait for a person in the folder's `refused` file."""
    try:
        return (folder / REFUSED).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _write_for_good(file: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(file, data[written:])
    os.fsync(file)


def keep_names(folder: Path) -> None:
    """The names of new files have to be on disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


async def replay(folder: Path, settle: Settle) -> int:
    """Offer every event of every ownerless file to `settle`; how many there were.

    A file is removed once all its events are stored, so whatever interrupts a replay only makes it happen again. A last
    line that was cut off while it was written was never acknowledged to anybody, and is passed over.
    """
    count = 0
    for path in _files(folder):
        file = _claim(path)
        if file is None:
            continue
        try:
            for events in _batches(_read(path)):
                await settle(events)
                count += len(events)
            path.unlink(missing_ok=True)
        finally:
            os.close(file)
    return count


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _claim(path: Path) -> int | None:
    """The file, locked, or None where its process still writes or another replay has it."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:
            return file
    except OSError:
        pass
    os.close(file)
    return None


def _read(path: Path) -> Iterator[UsageEvent]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _from_json(json.loads(line))
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, InvalidInput):
                log.warning("journal line %d is cut off or damaged, passed over", number)


def _batches(events: Iterator[UsageEvent]) -> Iterator[list[UsageEvent]]:
    batch: list[UsageEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) == REPLAY_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


_PLAIN = ("status_code", "method", "path", "request_id", "latency_ms", "estimated", "complete", "state", "billable")


def _to_json(event: UsageEvent) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "user_id": event.user_id,
        "timestamp": event.timestamp.isoformat(),
        **{name: getattr(event, name) for name in _PLAIN},
        "usage": usage_to_json(event.usage),
    }


def _from_json(value: dict[str, Any]) -> UsageEvent:
    return UsageEvent(
        id=UUID(value["id"]),
        user_id=value["user_id"],
        timestamp=datetime.fromisoformat(value["timestamp"]),
        usage=usage_from_json(value["usage"]),
        **{name: value[name] for name in _PLAIN},
    )
