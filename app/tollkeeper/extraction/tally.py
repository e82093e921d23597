"""What is known so far of one answer, while its events go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tollkeeper.extraction.reading import Counts, State
from tollkeeper.extraction.strict import MAX_COUNT, NOT_BELIEVED, model_name

if TYPE_CHECKING:
    from tollkeeper.extraction.dialects import Dialect


class Tally:
    """The state of one answer: the call being read, the sum of the calls before it, and how far to trust both.

    A call is one run of one model. Its counts are kept under the dialect's own names and merged field by field, a later
    value over an earlier one, because streams repeat cumulative counts. They are normalised when the call is over.
    """

    # What follows are the values at the beginning; an instance has only those that were changed.
    dialect: Dialect | None = None
    call_id: str | None = None
    model_id: str | None = None
    earlier: Counts | None = None
    """The sum of the calls before this one."""
    earlier_unbelieved = False
    text_bytes = 0
    stated = False
    """The API stated what the call used, or what it had used so far."""
    covered = True
    """No text went by since counts were last stated."""
    settled = False
    """The event being noted stated counts."""
    doubt = False
    """Something could not be read since counts were last stated."""
    ended = False
    terminal = False
    """The frame that ends the answer went by: `ended`, and visible to the client as such."""
    finishing = False
    """The model said that it stopped; counts may still come."""
    more_expected = False
    """The text just read says itself that others follow."""
    truncated = False
    """The object being noted was cut off."""
    unclaimed = False
    """An object went by that no dialect knows."""
    background = False
    free = False
    """It is an answer that uses nothing, such as a count of tokens."""
    fallback: Counts | None = None
    """Counts stated beside the body; they hold only if the body states none."""
    _known: object = None

    def __init__(self) -> None:
        self.raw: dict[str, int] = {}

    def copy(self) -> Tally:
        """The same state, free to be changed."""
        twin = object.__new__(Tally)
        twin.__dict__.update(self.__dict__)
        twin.raw = self.raw.copy()
        return twin

    def put(self, name: str, value: object) -> None:
        """Note a count under the dialect's name; null and absent say nothing, and what is no count is not believed."""
        if value is not None:
            self.raw[name] = value if type(value) is int and 0 <= value <= MAX_COUNT else NOT_BELIEVED

    def put_larger(self, name: str, value: object) -> None:
        """Note a count that may stand under another name too: the larger one holds."""
        before = self.raw.get(name, 0)
        self.put(name, value)
        if value is not None and self.raw[name] != NOT_BELIEVED and (before > self.raw[name] or before == NOT_BELIEVED):
            self.raw[name] = before

    def settle(self) -> None:
        """The counts, if there are any, now cover all of the call that went by, unless their object was cut off."""
        if self.raw and not self.truncated:
            self.stated = self.covered = self.settled = True
            self.doubt = False

    def name_model(self, value: object) -> None:
        """Note the model; empty and unprintable names say nothing."""
        if value is not None and value != self._known:
            self._known = value
            self.model_id = model_name(value) or self.model_id

    def identify(self, call_id: object) -> None:
        """Note which call the events that follow belong to: another id closes the call before it."""
        if type(call_id) is not str or not call_id or call_id == self.call_id:
            return
        if self.call_id is not None and self.raw:
            self.next_call()
        self.call_id = call_id

    def next_call(self) -> None:
        """Add the call to the sum of the earlier ones and begin another."""
        self.close_call()
        self.stated = self.ended = self.terminal = self.finishing = False

    def close_call(self) -> None:
        """Add the call to the sum of the earlier ones; what was stated stays so until another call begins."""
        if self.raw:
            counts, believed = self._normalised()
            self.earlier = counts if self.earlier is None else self.earlier + counts
            self.earlier_unbelieved = self.earlier_unbelieved or not believed
            self.raw = {}
        self.call_id = None

    def end(self) -> None:
        """The frame that ends the answer went by."""
        self.ended = self.terminal = True

    def counts(self) -> tuple[Counts, State]:
        """The use so far and how far it can be trusted."""
        counts, believed = self._normalised()
        if self.earlier is not None:
            counts = counts + self.earlier
        believed = believed and not self.earlier_unbelieved
        counts, within = _within_bounds(counts.with_parts_inside())
        if not (believed and within):
            return counts, "unreadable"
        if not self.raw and self.earlier is None and self.fallback is not None:
            return self.fallback, "reported"
        if self.stated and (self.ended or (self.covered and not self.doubt)):
            return counts, "reported"
        return counts, "unreadable" if self.doubt else "not_reported"

    def _normalised(self) -> tuple[Counts, bool]:
        if not self.raw or self.dialect is None:
            return Counts(), True
        believed = NOT_BELIEVED not in self.raw.values()
        raw: Mapping[str, int] = self.raw
        if not believed:
            raw = {name: value for name, value in raw.items() if value != NOT_BELIEVED}
        return self.dialect.counts(raw), believed


def _within_bounds(counts: Counts) -> tuple[Counts, bool]:
    largest = max(counts.tokens_in, counts.tokens_out)
    if counts.units:
        largest = max(largest, *counts.units.values())
    if largest <= MAX_COUNT:
        return counts, True
    return Counts(), False
