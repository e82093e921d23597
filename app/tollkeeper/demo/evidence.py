"""What ran and what came out: printed line by line, and kept as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

TICK, CROSS = "✓", "✗"


@dataclass
class Evidence:
    """Every step with what was put in, what was expected and what came out."""

    say: Say
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Begin a part of the story."""
        self.say(f"\n{text}")

    def note(self, text: str, **facts: Any) -> None:
        """Something that happened, which nothing is compared with."""
        self.say(f"    {text}")
        self.steps.append({"note": text, **facts})

    def check(self, what: str, actual: Any, expected: Any, *, inputs: Any = None) -> bool:
        """Compare what came out with what was expected; one line either way."""
        right = bool(actual == expected)
        shown = f"{actual}" if right else f"{actual}, expected {expected}"
        self.say(f"  {TICK if right else CROSS} {what}: {shown}")
        self.steps.append({"check": what, "ok": right, "expected": expected, "actual": actual, "inputs": inputs})
        return right

    @property
    def failed(self) -> list[str]:
        """What did not come out as expected."""
        return [step["check"] for step in self.steps if step.get("ok") is False]

    @property
    def checks(self) -> int:
        """How many things were compared."""
        return sum(1 for step in self.steps if "check" in step)

    def save(self, path: Path) -> None:
        """Write everything down."""
        document = {**self.facts, "ok": not self.failed, "steps": self.steps}
        path.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
