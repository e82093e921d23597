from __future__ import annotations

import gc
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount

from browser.chromium import FLAGS, MISSING, find
from integration.closing.ledger import Ledger
from integration.closing.shared import shared_database
from integration.web.business import TODAY, open_business
from tollkeeper import billing_routes
from tollkeeper.settings import read_settings
from tollkeeper.storage.database import Database
from tollkeeper.testing import FrozenClock

__all__ = ["shared_database"]

TOKEN = "operators-token-made-up"


@dataclass(frozen=True)
class Site:
    """The business's own site, with the pages mounted under /billing."""

    address: str
    keys: dict[str, str]
    ledger: Ledger


@pytest.fixture(scope="package")
def site(shared_database: Database) -> Iterator[Site]:
    ledger = Ledger(shared_database)
    keys = open_business(ledger)
    settings = read_settings(database_url=shared_database.url, admin_token=TOKEN)
    pages = billing_routes(settings=settings, clock=FrozenClock(TODAY), brand="Acme AI")
    with _served(Starlette(routes=[Mount("/billing", pages)])) as address:
        yield Site(f"{address}/billing", keys, ledger)


class _served:  # noqa: N801 # read as a word
    """The app on a port of its own while the block runs."""

    def __init__(self, app: Starlette) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server ended by itself"
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One browser for all of these tests; where it takes orders."""
    program = find()
    if program is None:
        pytest.fail(MISSING, pytrace=False)
    profile = tmp_path_factory.mktemp("chromium")
    flags = [*FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{_port(process, profile / 'DevToolsActivePort')}"
        finally:
            process.terminate()


def _port(process: subprocess.Popen[bytes], written: Path) -> int:
    end = time.monotonic() + 120
    while not (written.exists() and written.read_text().count("\n")):
        assert process.poll() is None, "Chromium ended by itself"
        assert time.monotonic() < end, "Chromium does not start"
        time.sleep(0.02)
    return int(written.read_text().split()[0])


@pytest.fixture
def browser(site: Site, chromium: str) -> Iterator[Browser]:
    """The browser, for one test. Playwright keeps an event loop in this thread, so nothing that runs one is called meanwhile."""
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(chromium, timeout=120_000)
        yield connected
        connected.close()
    gc.collect()  # its greenlets go now, and not in the middle of something that counts its recursions


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Open]:
    """Opens a window that nobody is signed in in. What the browser complains of fails the test at its end."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_window(
        *, theme: str = "light", width: int = 1200, height: int = 900, scripts: bool = True, sharp: float = 1
    ) -> Page:
        context = browser.new_context(
            color_scheme=theme,  # type: ignore[arg-type] # "light" or "dark"
            viewport={"width": width, "height": height},
            java_script_enabled=scripts,
            device_scale_factor=sharp,
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(elsewhere(request.url)))
        return page

    def elsewhere(url: str) -> list[str]:
        return [] if url.startswith(site.address) else [url]

    yield open_window
    for context in contexts:
        context.close()
    # A page that asks to sign in is a 401, and the browser's console says so.
    assert [said for said in complaints if "401" not in said] == []


def sign_in(page: Page, site: Site, user_id: str = "acme-robotics") -> None:
    """Sign in as a customer, with the API key."""
    page.goto(f"{site.address}/")
    page.get_by_label("API key").fill(site.keys[user_id])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Usage", level=1).wait_for()


def sign_in_at_the_desk(page: Page, site: Site) -> None:
    """Sign in as the operator, with the token."""
    page.goto(f"{site.address}/admin/")
    page.get_by_label("Your name").fill("Grace")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
