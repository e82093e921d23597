"""Our figures beside Stripe's."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that both sides know, as each of them says it."""

    what: str
    ours: str
    stripes: str

    @property
    def agrees(self) -> bool:
        return self.ours == self.stripes


@dataclass
class Figures:
    """What was compared, in order."""

    rows: list[Figure] = field(default_factory=list)

    def compare(self, what: str, ours: object, stripes: object) -> None:
        """One more row."""
        self.rows.append(Figure(what, str(ours), str(stripes)))

    @property
    def ok(self) -> bool:
        """Whether both sides agree on everything."""
        return bool(self.rows) and all(row.agrees for row in self.rows)
