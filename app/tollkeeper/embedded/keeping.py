"""Our side of the talk with a keeper."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tollkeeper.embedded.account import Account, temporary_parent
from tollkeeper.embedded.errors import ServerFailed

_SCRIPT = Path(__file__).with_name("keeper.py")
_LEAVING = 30.0


class Keeping:
    """A keeper at work for us: a temporary folder and a server that are gone when we are. See `keeper.py`."""

    def __init__(self, server: str, account: Account | None, farewell: signal.Signals, in_memory: bool) -> None:
        self._name = server
        self._lock = threading.Lock()
        told = {
            "owner": os.getpid(),
            "parent": str(temporary_parent(account, in_memory)),
            "account": (account.uid, account.gid) if account else None,
            "farewell": int(farewell),
        }
        # A session of its own: the terminal's Ctrl-C, and a kill of our process group, are not meant for it.
        # -P keeps this folder off the path, where redis.py would be taken for the client library.
        self._keeper = subprocess.Popen(  # noqa: S603 # our own script
            [sys.executable, "-P", str(_SCRIPT), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )
        self.folder = Path(self._answer())

    def run(self, command: list[str]) -> int:
        """Runs a program to its end as the server's account; its exit status."""
        return int(self._order("run", command))

    def serve(self, command: list[str]) -> int:
        """Starts the server; its process id."""
        return int(self._order("serve", command))

    def alive(self) -> bool:
        """Whether the server is running."""
        return bool(self._order("alive"))

    def pause(self) -> None:
        """Stops every process of the server where it stands."""
        self._order("pause")

    def resume(self) -> None:
        """Undoes `pause`."""
        self._order("resume")

    def end(self, farewell: signal.Signals) -> None:
        """Ends the server; the folder stays."""
        self._order("end", int(farewell))

    def close(self) -> None:
        """Ends the server, removes the folder and waits for both."""
        for pipe in (self._keeper.stdin, self._keeper.stdout, self._keeper.stderr):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        if self._keeper.wait(_LEAVING) < 0:  # killed, so the folder is left to us
            shutil.rmtree(self.folder, ignore_errors=True)

    def _order(self, order: str, *arguments: object) -> Any:
        with self._lock:
            assert self._keeper.stdin is not None
            try:
                self._keeper.stdin.write(json.dumps({"do": order, "with": arguments}) + "\n")
                self._keeper.stdin.flush()
            except OSError:
                raise self._gone() from None
            answer = self._answer()
        if "error" in answer:
            raise ServerFailed(self._name, answer["error"])
        return answer["answer"]

    def _answer(self) -> Any:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise self._gone()
        return json.loads(line)

    def _gone(self) -> ServerFailed:
        assert self._keeper.stderr is not None
        last_words = self._keeper.stderr.read().strip().splitlines() or ["killed"]
        return ServerFailed(self._name, f"its keeper process is gone: {last_words[-1]}")
