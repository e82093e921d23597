"""The client: raw sockets, one request after another on each, in a process of its own.

Answers each line of JSON on standard input with another, as the workers do.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from typing import cast

import uvloop

from bench.traffic import CUSTOMERS, body, customers_in_turn, wire_request

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the whole answer to the last one is here."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self.latencies: list[float] = []
        """Seconds from the request to the last byte of its answer."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._until = until
        self._began = 0.0
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's, though they do the same.
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _is_whole(self._received):
            return
        now = time.perf_counter()
        self.latencies.append(now - self._began)
        if not self._received.startswith(b"HTTP/1.1 200 "):
            self._end(RuntimeError(f"the server answered {self._received[:300]!r}"))
        elif now >= self._until:
            self._end(None)
        else:
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("the server hung up"))

    def _next(self) -> None:
        self._received = b""
        self._began = time.perf_counter()
        self._transport.write(next(self._requests))

    def _end(self, error: Exception | None) -> None:
        self._transport.close()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def _is_whole(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = _LENGTH.search(received, 0, head + 2)
    if length is None:
        return received.endswith(_LAST_CHUNK)
    return len(received) >= head + 4 + int(length[1])


class Load:
    """Requests ready to send, so that the client costs as little as it can."""

    def __init__(self) -> None:
        self._ready = {
            stream: [wire_request(customer, body(stream=stream)) for customer in range(CUSTOMERS)]
            for stream in (False, True)
        }
        self._customers = customers_in_turn(0)

    async def run(self, port: int, connections: int, seconds: float, stream: bool) -> dict[str, float]:
        """Requests and seconds that passed, the median and the 99th percentile of the latency in seconds."""
        ready, began = self._ready[stream], time.perf_counter()
        requests = (ready[customer] for customer in self._customers)
        loop = asyncio.get_running_loop()
        clients = [
            (await loop.create_connection(lambda: Client(requests, began + seconds), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        await asyncio.gather(*(client.done for client in clients))
        wall = time.perf_counter() - began
        latencies = sorted(latency for client in clients for latency in client.latencies)
        return {
            "requests": len(latencies),
            "wall": wall,
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
        }


async def main() -> None:
    load = Load()
    while line := sys.stdin.readline():
        print(json.dumps(await load.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
