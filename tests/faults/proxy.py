"""A TCP proxy that misbehaves on command: between the middleware and PostgreSQL or Redis."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit

CHUNK = 65_536


class Proxy:
    """Passes bytes on, until told otherwise. Lives in the loop of the test that uses it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._url = parts
        self._target = (parts.hostname, parts.port)
        self.delay = 0.0
        """Seconds that every reply is late."""
        self.lose_reply_to: bytes | None = None
        """A request that holds these bytes is passed on, its reply is not; once."""
        self.hang_after_losing = False
        """The connection stays open when a reply is lost; else it is cut."""
        self.cut_reply_to: bytes | None = None
        """Of the reply to such a request only the first half goes through, then the connection is cut; once."""
        self.lost = 0
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address of what is behind, by way of this proxy."""
        where = f"127.0.0.1:{self._port}"
        user = f"{self._url.username or ''}:{self._url.password}@" if self._url.password else ""
        return self._url._replace(netloc=user + where).geturl()

    def refuse(self) -> None:
        """Cut every connection and take no new one."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        behind_reader, behind = await asyncio.open_connection(*self._target)
        self._writers |= {writer, behind}
        link = _Link()
        try:
            await asyncio.gather(self._requests(reader, behind, link), self._replies(behind_reader, writer, link))
        finally:
            self._writers -= {writer, behind}
            writer.close()
            behind.close()

    async def _requests(self, reader: asyncio.StreamReader, behind: asyncio.StreamWriter, link: _Link) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self.lose_reply_to is not None and self.lose_reply_to in data:
                    self.lose_reply_to = None
                    link.losing = True
                if self.cut_reply_to is not None and self.cut_reply_to in data:
                    self.cut_reply_to = None
                    link.cutting = True
                behind.write(data)
                await behind.drain()
        behind.close()

    async def _replies(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await behind.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if link.losing:
                    self.lost += 1
                    if self.hang_after_losing:
                        continue
                    break
                if link.cutting:
                    self.lost += 1
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


class _Link:
    losing = False
    cutting = False
