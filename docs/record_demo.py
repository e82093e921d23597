"""Runs the demo and draws what it prints, when it prints it: `docs/images/demo.svg`, a terminal that moves.

`make recording` runs it. The picture is one SVG with two animations of its own, no script: the lines that are there so far are
uncovered, and what no longer fits is scrolled away. Whoever asks for less motion sees the last lines stand still.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from html import escape
from pathlib import Path

WIDE, TALL = 96, 30
"""Columns and rows of the terminal."""
CHAR, LINE, PAD, BAR = 7.9, 18.0, 14.0, 30.0
"""Pixels: a character's width, a row's height, the margin, the title bar."""
HOLD_SECONDS = 6.0
"""How long the end stands before it begins anew."""
QUICKER = 1.5
"""How many times faster than it was."""

_STYLE = """
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d7dee8; white-space: pre }
.ok { fill: #6fd08c } .head { fill: #ffffff; font-weight: 600 } .call { fill: #8ab4f8 } .end { fill: #6fd08c; font-weight: 600 }
"""


def record(command: list[str]) -> list[tuple[float, str]]:
    """Each line that the command prints, with the seconds since it began. Raises where the command fails."""
    began = time.monotonic()
    lines = [(0.0, f"$ {' '.join(command)}")]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "database_url=" not in line:  # the settings: long, and other ones everywhere
            lines += [(time.monotonic() - began, part) for part in _folded(line.rstrip())]
    if process.wait():
        raise SystemExit("the demo failed: nothing drawn")
    return lines


def _folded(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDE, subsequent_indent=indent, break_on_hyphens=False) or [""]


def draw(lines: list[tuple[float, str]]) -> str:
    """The picture."""
    whole = lines[-1][0] / QUICKER + HOLD_SECONDS
    width, height = WIDE * CHAR + 2 * PAD, TALL * LINE + BAR + 2 * PAD
    shown, scrolled = [], []
    for count, (at, _) in enumerate(lines, 1):
        percent = 100 * at / QUICKER / whole
        shown.append(f"{percent:.2f}% {{ height: {count * LINE:.0f}px }}")
        scrolled.append(f"{percent:.2f}% {{ transform: translateY({-max(0, count - TALL) * LINE:.0f}px) }}")
    end = -max(0, len(lines) - TALL) * LINE
    rows = "".join(
        f'<text x="0" y="{n * LINE + 13:.0f}" class="{_kind(line)}">{escape(line)}</text>'
        for n, (_, line) in enumerate(lines)
        if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="A terminal that runs the demo, from a request to a paid invoice">'
        f"<style>{_STYLE}"
        f"@keyframes shown {{ {' '.join(shown)} }} @keyframes scrolled {{ {' '.join(scrolled)} }}"
        f"#window {{ height: {len(lines) * LINE:.0f}px; animation: shown {whole:.1f}s step-end infinite }}"
        f"#paper {{ transform: translateY({end:.0f}px); animation: scrolled {whole:.1f}s step-end infinite }}"
        "@media (prefers-reduced-motion: reduce) { #window, #paper { animation: none } }"
        "</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#16202c"/>'
        f'<circle cx="20" cy="16" r="5" fill="#f16a5f"/><circle cx="38" cy="16" r="5" fill="#f5be4f"/>'
        f'<circle cx="56" cy="16" r="5" fill="#61c554"/>'
        f'<clipPath id="screen"><rect width="{WIDE * CHAR:.0f}" height="{TALL * LINE:.0f}"/></clipPath>'
        f'<clipPath id="so-far"><rect id="window" width="{WIDE * CHAR:.0f}" height="{len(lines) * LINE:.0f}"/></clipPath>'
        f'<g transform="translate({PAD} {BAR + PAD / 2})"><g clip-path="url(#screen)"><g id="paper">'
        f'<g clip-path="url(#so-far)">{rows}</g></g></g></g></svg>\n'
    )


def _kind(line: str) -> str:
    if line.startswith("DEMO OK"):
        return "end"
    if line.lstrip().startswith("✓"):
        return "ok"
    if line.lstrip().startswith("$"):
        return "call"
    return "plain" if line.startswith(" ") else "head"


if __name__ == "__main__":
    picture = Path(__file__).parent / "images" / "demo.svg"
    picture.write_text(draw(record(["tollkeeper", "demo"])), encoding="utf-8")
