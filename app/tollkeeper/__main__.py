"""`python -m tollkeeper`, the same as the `tollkeeper` command."""

from __future__ import annotations

from tollkeeper.cli import main

main()
