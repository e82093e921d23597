"""The picture for the README: bars, drawn as SVG text, that follow the reader's light or dark colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 760, 210, 90
BAR, STEP, HEAD, GAP = 18, 28, 40, 22

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 14px; }
.note { font-size: 11px; fill: #59636e; }
.other { fill: #afb8c1; }
.base { fill: #d1d9e0; }
.ours { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .other { fill: #656c76; }
  .base { fill: #3d444d; }
  .ours { fill: #3fb950; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `kind` is `ours`, `base` or `other`, and decides its colour."""

    label: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that share a scale."""

    title: str
    bars: Sequence[Bar]


def draw(panels: Sequence[Panel], note: str) -> str:
    """The whole picture as an SVG document."""
    parts, top = [], 0
    for panel in panels:
        parts.append(_panel(panel, top))
        top += HEAD + STEP * len(panel.bars) + GAP
    height = top + 8
    title = escape("; ".join(panel.title for panel in panels))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
            f"<style>{_STYLE}</style>",
            *parts,
            f'<text class="note" x="0" y="{height - 6}">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, top: int) -> str:
    most = max(bar.value for bar in panel.bars)
    lines = [f'<text class="title" x="0" y="{top + 22}">{escape(panel.title)}</text>']
    for index, bar in enumerate(panel.bars):
        y = top + HEAD + STEP * index
        length = max(1, round((WIDTH - LEFT - RIGHT) * bar.value / most))
        middle = y + BAR - 5
        lines += [
            f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="3"/>',
            f'<text x="{LEFT + length + 8}" y="{middle}">{bar.value:,.0f}</text>',
        ]
    return "\n".join(lines)
