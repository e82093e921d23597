"""The README's pictures, from the same pages. `make pictures` keeps them; otherwise they are only taken."""

from __future__ import annotations

import os
from pathlib import Path

from browser.conftest import Open, Site, sign_in, sign_in_at_the_desk

WIDTH, HEIGHT = 1160, 900


def test_pictures_are_taken(open_page: Open, site: Site, tmp_path: Path) -> None:
    folder = Path(os.environ.get("TOLLKEEPER_PICTURES") or tmp_path)
    for theme in ("light", "dark"):
        page = open_page(theme=theme, width=WIDTH, height=HEIGHT)
        sign_in(page, site)
        page.screenshot(path=folder / f"usage-{theme}.png")
    page = open_page(width=WIDTH, height=HEIGHT)
    sign_in(page, site)
    page.get_by_role("link", name="1 Oct 2026 – 31 Oct 2026").click()
    page.get_by_role("heading", name="Lines").wait_for()
    page.screenshot(path=folder / "invoice.png")
    desk = open_page(width=1280, height=HEIGHT)
    sign_in_at_the_desk(desk, site)
    desk.screenshot(path=folder / "desk.png")
    assert all(
        (folder / name).stat().st_size > 10_000
        for name in ("usage-light.png", "usage-dark.png", "invoice.png", "desk.png")
    )
