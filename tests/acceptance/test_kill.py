"""A server that is killed with -9 in the middle of its work loses nothing that a client received."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from integration.metering.conftest import Desk
from tollkeeper.storage.database import Database

KILLS = 6
ANSWERS_EACH_LIFE = 40
CLIENTS = 12
HERE = Path(__file__).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The app on uvicorn, in a process of its own."""
    command = [sys.executable, "-m", "uvicorn", "served_app:app", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=HERE)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


async def hammer(port: int, key: str, received: list[str], refused: list[int], until: asyncio.Event) -> None:
    """Send requests one after another; note each whose answer came to its very end."""
    body = {"model": "gpt-4o", "max_tokens": 950, "messages": []}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        stream = False
        while not until.is_set():
            name = str(uuid4())
            stream = not stream
            headers = {"authorization": f"Bearer {key}", "x-request-id": name}
            try:
                answer = await client.post("/v1/chat/completions", json={**body, "stream": stream}, headers=headers)
            except httpx.HTTPError:
                await asyncio.sleep(0.01)
                continue
            if answer.status_code != 200:
                refused.append(answer.status_code)
                await asyncio.sleep(0.01)
            elif not stream or answer.text.endswith("data: [DONE]\n\n"):
                received.append(name)


@pytest.fixture
def desk(migrated_database_url: str) -> Iterator[Desk]:
    with Database(migrated_database_url) as database:
        yield Desk(database)


def test_every_answer_that_a_client_received_whole_has_its_row_whenever_the_server_is_killed(
    desk: Desk, migrated_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    desk.plan('spend_cap = "1000.00"')
    key = desk.customer("alice")
    environment = {
        "TOLLKEEPER_DATABASE_URL": migrated_database_url,
        "TOLLKEEPER_REDIS_URL": redis_url,
        "TOLLKEEPER_JOURNAL_DIR": str(tmp_path),
    }
    received: list[str] = []
    refused: list[int] = []

    async def one_life(port: int, process: subprocess.Popen[bytes], life: int) -> None:
        until = asyncio.Event()
        enough = len(received) + ANSWERS_EACH_LIFE
        clients = [asyncio.create_task(hammer(port, key, received, refused, until)) for _ in range(CLIENTS)]
        async with asyncio.timeout(60):
            while len(received) < enough:  # noqa: ASYNC110 # twelve clients fill the list
                await asyncio.sleep(0.005)
        await asyncio.sleep(life * 0.0137)  # at another point of the work each time
        process.send_signal(signal.SIGKILL)
        until.set()
        await asyncio.gather(*clients)

    for life in range(KILLS):
        port = _free_port()
        with served(port, environment) as process:
            asyncio.run(one_life(port, process, life))

    stored = [row["request_id"] for row in desk.rows("SELECT request_id FROM usage_events")]
    assert len(received) >= ANSWERS_EACH_LIFE * KILLS
    assert set(received) <= set(stored)
    assert len(stored) == len(set(stored))
    [period] = desk.rows("SELECT events, cost_units FROM usage_periods")
    [counted] = desk.rows("SELECT count(*) AS events, sum(cost_units) AS cost_units FROM usage_events")
    assert period == counted
    # What was running when the server died is still held, and nothing else.
    assert len(desk.rows("SELECT id FROM holds")) <= CLIENTS * KILLS


def test_a_server_that_is_told_to_stop_settles_what_it_can_and_leaves_no_hold(
    desk: Desk, migrated_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    desk.plan('spend_cap = "1000.00"')
    key = desk.customer("alice")
    environment = {
        "TOLLKEEPER_DATABASE_URL": migrated_database_url,
        "TOLLKEEPER_REDIS_URL": redis_url,
        "TOLLKEEPER_JOURNAL_DIR": str(tmp_path),
    }
    received: list[str] = []

    async def one_life(port: int, process: subprocess.Popen[bytes]) -> None:
        until = asyncio.Event()
        clients = [asyncio.create_task(hammer(port, key, received, [], until)) for _ in range(CLIENTS)]
        await asyncio.sleep(1)
        process.terminate()
        until.set()
        await asyncio.gather(*clients)
        await asyncio.to_thread(process.wait, 15)

    port = _free_port()
    with served(port, environment) as process:
        asyncio.run(one_life(port, process))

    stored = {row["request_id"] for row in desk.rows("SELECT request_id FROM usage_events")}
    assert set(received) <= stored
    assert desk.rows("SELECT id FROM holds") == []
