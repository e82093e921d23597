"""Real servers with real sockets: hang-ups, slow readers, several processes, and every way to end them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from faults.conftest import CHAT, Site, run
from integration.metering.conftest import ask
from tollkeeper.testing.clock import FrozenClock

TESTS = Path(__file__).parents[1]
SERVERS = {
    "uvicorn-h11": ["-m", "uvicorn", "faults.served:app", "--http", "h11", "--log-level", "error", "--port", "{port}"],
    "uvicorn-httptools": ["-m", "uvicorn", "faults.served:app", "--http", "httptools", "--port", "{port}"],
    "hypercorn": ["-m", "hypercorn", "faults.served:app", "--bind", "127.0.0.1:{port}"],
    "granian": ["-m", "granian", "faults.served:app", "--interface", "asgi", "--port", "{port}", "--no-ws"],
}


@contextmanager
def served(site: Site, command: list[str], *more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The app on a server in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "TOLLKEEPER_DATABASE_URL": site.database_url,
        "TOLLKEEPER_REDIS_URL": site.redis_url,
        "TOLLKEEPER_JOURNAL_DIR": str(site.journal),
        "TOLLKEEPER_STORE_BUDGET_MS": "5000",
    }
    arguments = [part.format(port=port) for part in command]
    process = subprocess.Popen([sys.executable, *arguments, *more], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not _listens(port):
            time.sleep(0.05)
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def opened(port: int, key: str, path: str, name: str, *, reads: int) -> socket.socket:
    """A connection on which an answer has begun: so many bytes of it were read."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    sent = json.dumps({**CHAT, "stream": True}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nx-request-id: {name}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
    )
    connection.sendall(head.encode() + sent)
    got = 0
    while got < reads:
        part = connection.recv(4096)
        assert part
        got += len(part)
    return connection


def rows_of(site: Site, count: int, seconds: float = 15) -> dict[str, dict[str, Any]]:
    """The rows by request id, once there are so many."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = site.desk.events()
        if len(rows) >= count:
            break
        time.sleep(0.05)
    assert len(rows) == count
    return {row["request_id"]: row for row in rows}


@pytest.fixture
def key(site: Site) -> str:
    site.desk.plan('spend_cap = "10.00"')
    return site.desk.customer("alice")


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_records_whole_answers_hang_ups_and_slow_readers(site: Site, key: str, server: str) -> None:
    with served(site, SERVERS[server]) as (process, port):
        client = openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        asked: dict[str, Any] = {"model": "gpt-4o", "messages": [], "max_tokens": 945}
        with client:
            whole = client.chat.completions.create(**asked, extra_headers={"x-request-id": "whole"})
            assert whole.usage is not None
            assert whole.usage.total_tokens == 1000
            # This client hangs up as soon as it sees [DONE], before the answer's last message.
            stream = client.chat.completions.create(**asked, stream=True, extra_headers={"x-request-id": "stream"})
            assert len(list(stream)) == 101
        opened(port, key, "/slow", "left", reads=2000).close()
        slow = opened(port, key, "/v1/chat/completions", "slow", reads=1)
        while part := slow.recv(1000):
            time.sleep(0.005)
            if part.endswith(b"0\r\n\r\n"):
                break
        slow.close()
        rows = rows_of(site, 4)
        process.terminate()
        process.wait(10)
    for name in ("whole", "stream", "slow"):
        assert (rows[name]["tokens_in"], rows[name]["tokens_out"], rows[name]["complete"]) == (50, 950, True), name
    assert (rows["left"]["complete"], rows["left"]["estimated"]) == (False, True)
    assert 0 < rows["left"]["tokens_out"] < 950
    site.sums_agree()


def test_streams_that_are_open_when_the_grace_of_a_shutdown_ends_are_settled(site: Site, key: str) -> None:
    with (
        served(site, SERVERS["uvicorn-httptools"], "--timeout-graceful-shutdown", "1") as (process, port),
        ExitStack() as open_,
    ):
        for n in range(5):
            open_.enter_context(opened(port, key, "/slow", f"s{n}", reads=1500))
        process.terminate()
        process.wait(10)
    rows = rows_of(site, 5)
    assert all(
        (row["complete"], row["estimated"], row["tokens_out"] > 0) == (False, True, True) for row in rows.values()
    )
    site.sums_agree()


def test_a_killed_server_leaves_one_row_without_charge_for_each_open_request_and_no_hold_anywhere(
    site: Site, key: str
) -> None:
    with served(site, SERVERS["uvicorn-httptools"]) as (process, port), ExitStack() as open_:
        for n in range(5):
            open_.enter_context(opened(port, key, "/slow", f"s{n}", reads=500))
        process.kill()
        process.wait()
    assert len(site.desk.rows("SELECT id FROM holds")) == 5
    later = datetime.now(UTC) + timedelta(hours=2)
    assert [site.sweep(later), site.sweep(later)] == [5, 0]
    rows = site.desk.events()
    assert [(row["billable"], row["complete"], row["cost_units"]) for row in rows] == [(False, False, 0)] * 5
    middleware = site.mounted()
    middleware._clock = middleware._loops._clock = FrozenClock(later)
    assert run(middleware, lambda: ask(middleware, key, CHAT)).status == 200
    with site.counters() as counters:
        [state] = [
            name for name in counters.keys("tk:*") if counters.type(name) == "hash" and counters.hget(name, "ready")
        ]
        assert counters.hmget(state, "held", "held_tokens") == ["0", "0"]
    site.sums_agree()


def test_several_processes_of_a_server_share_one_cap(site: Site) -> None:
    site.desk.plan('spend_cap = "0.20"')
    key = site.desk.customer("alice")

    async def crowd(port: int) -> list[int]:
        async def one() -> list[int]:
            statuses = []
            # A connection for each request, so that they spread over the processes.
            for _ in range(3):
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                    answer = await client.post("/v1/chat/completions", json=CHAT, headers={"x-api-key": key})
                    statuses.append(answer.status_code)
            return statuses

        return [status for statuses in await asyncio.gather(*[one() for _ in range(14)]) for status in statuses]

    with served(site, SERVERS["uvicorn-httptools"], "--workers", "3") as (_, port):
        statuses = asyncio.run(crowd(port))
        pids = len(site.backends())
    assert (statuses.count(200), statuses.count(402)) == (20, 22)
    assert pids > 2
    assert site.period()["spent"] == 20
    site.sums_agree()
