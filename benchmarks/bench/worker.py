"""One app in one process: served over HTTP by uvicorn, and driven directly when told to.

Says its port first, as one line of JSON; then answers each line of JSON on standard input with another, until there are no more.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped] # it has no types of its own
import uvicorn
import uvloop
from starlette.types import ASGIApp, Message, Scope

from bench.apps import APPS, Stores
from bench.traffic import PATH, body, customers_in_turn, headers


async def request(app: ASGIApp, customer: int, content: bytes) -> None:
    """One request through the app, with the messages that a server would pass."""
    unread = [content]
    done = asyncio.get_running_loop().create_future()
    status = 0

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await done
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not message.get("more_body", False) and not done.done():
            done.set_result(None)

    await app(_scope(customer, len(content)), receive, send)
    if status != 200 or not done.done():
        raise RuntimeError(f"the app answered {status}")


def _scope(customer: int, length: int) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50_000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": headers(customer, length),
        "state": {},
    }


class Worker:
    """What the process does when it is told to; each method answers with figures."""

    def __init__(self, app: ASGIApp, seed: int) -> None:
        self._app = app
        self._customers = customers_in_turn(seed)

    async def each_customer(self, count: int) -> dict[str, float]:
        """Send one request for each of so many customers, 32 at a time."""
        return await self._drive([next(self._customers) for _ in range(count)], 32, float("inf"), stream=False)

    async def drive(self, in_flight: int, seconds: float, stream: bool) -> dict[str, float]:
        """Keep so many requests in flight for so long."""
        return await self._drive(self._customers, in_flight, time.perf_counter() + seconds, stream=stream)

    async def spent(self) -> dict[str, float]:
        """Processor seconds of this process so far, and its memory in MiB."""
        return {"cpu": time.process_time(), "memory": psutil.Process().memory_info().rss / 2**20}

    async def _drive(
        self, customers: Iterator[int] | list[int], in_flight: int, until: float, *, stream: bool
    ) -> dict[str, float]:
        content, left, count = body(stream=stream), iter(customers), 0

        async def one_after_another() -> None:
            nonlocal count
            while time.perf_counter() < until:
                customer = next(left, None)
                if customer is None:
                    return
                # In a task of its own, as servers do it.
                await asyncio.create_task(request(self._app, customer, content))
                count += 1

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
        return {"requests": count, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


class Server(uvicorn.Server):
    """uvicorn that says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


async def main(name: str, seed: int) -> None:
    app = APPS[name](Stores(*(os.environ[f"BENCH_{field}"] for field in ("DATABASE_URL", "REDIS_URL", "FOLDER"))))
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = Server(uvicorn.Config(app, http="httptools", log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await server.ready.wait()
    _say({"port": listening.getsockname()[1]})
    worker = Worker(app, seed)
    lines = await _standard_input()
    while line := await lines.readline():
        told = json.loads(line)
        _say(await getattr(worker, told.pop("do"))(**told))
    server.should_exit = True
    await serving


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
