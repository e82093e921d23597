"""Whatever becomes of the process that started the services, no process and no folder of theirs is left."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # ships no types
import psycopg
import pytest
import redis

from tollkeeper.embedded import EmbeddedRedis, ServerFailed, Services
from tollkeeper.embedded.account import open_to_all

_OWNER = """
import json, os, signal, sys, time
from tollkeeper.embedded import Services
services = Services(fsync=False).start()
facts = {
    "folders": [str(server.log.parent) for server in (services.postgres, services.redis)],
    "database_url": services.database_url,
    "redis_url": services.redis_url,
}
print(json.dumps(facts), flush=True)
sys.stdin.readline()
"""


@dataclass
class Owner:
    """Another process that has started both services, and waits for `go` before it meets its end."""

    process: subprocess.Popen[str]
    folders: list[Path]
    database_url: str
    redis_url: str
    descendants: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.descendants = psutil.Process(self.process.pid).children(recursive=True)
        # Two keepers, Redis, and PostgreSQL with its helpers: whoever sees fewer is not looking at the servers.
        assert len(self.descendants) > 6

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def reads(self, expected: str | None = None) -> str:
        """The next line of what the owner says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert expected in (None, line)
        return line

    def leaves_nothing_behind(self) -> bool:
        """Whether every process and folder is gone within ten seconds of the owner's end."""
        self.process.wait(10)
        return soon(
            lambda: not any(folder.exists() for folder in self.folders) and not any(map(is_up, self.descendants))
        )


def soon(fact: Callable[[], bool]) -> bool:
    """Whether that is so within ten seconds."""
    deadline = time.monotonic() + 10
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.02)
    return fact()


def is_up(process: Any) -> bool:
    """Whether a process still runs; one that ended and that nobody has waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def owner_that(ending: str, *, ordinary: bool = False) -> Iterator[Owner]:
    """A process that owns both services and then runs `ending`; `ordinary`: as an account other than root."""
    command = [sys.executable, "-c", _OWNER + ending]
    with subprocess.Popen(
        [*(_ordinary_user() if ordinary else ()), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            folders = [Path(folder) for folder in facts.pop("folders")]
            yield Owner(process, folders, **facts)
        finally:
            process.kill()


def _ordinary_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    prefix = ["setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"]
    if all(open_to_all(Path(place)) for place in (sys.executable, sys.prefix, sys.base_prefix)):
        return prefix
    # Root's own Python below a closed home: the account may read it, which is all that it gets of root's rights.
    reading = "+dac_read_search"
    return [*prefix, "--securebits", "+no_setuid_fixup", "--inh-caps", reading, "--ambient-caps", reading]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="kill -9"),
        pytest.param("os._exit(3)", id="os._exit"),
        pytest.param("raise RuntimeError", id="an exception that nobody catches"),
        pytest.param("services.postgres.pause(); services.redis.pause(); os._exit(3)", id="both servers stalled"),
        pytest.param("services.postgres.kill(); services.redis.kill(); os._exit(3)", id="both servers killed before"),
        pytest.param("", id="an end without a stop"),
    ],
)
def test_nothing_outlives_its_owner(ending: str) -> None:
    with owner_that(ending) as owner:
        owner.go()
        assert owner.leaves_nothing_behind()


def test_two_sigterms_in_a_row_leave_nothing() -> None:
    with owner_that(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit()); print('ready', flush=True); time.sleep(60)"
    ) as owner:
        owner.go()
        owner.reads("ready")
        owner.process.send_signal(signal.SIGTERM)
        owner.process.send_signal(signal.SIGTERM)
        assert owner.leaves_nothing_behind()


def test_a_fork_that_lives_on_does_not_hold_the_servers_up() -> None:
    with owner_that("os.fork() and os._exit(3); print(os.getpid(), flush=True); time.sleep(60)") as owner:
        owner.go()
        fork = psutil.Process(int(owner.reads()))
        try:
            assert owner.leaves_nothing_behind()
            assert is_up(fork)
        finally:
            fork.kill()


def test_a_fork_that_stops_the_services_leaves_them_to_their_owner() -> None:
    ending = "os.fork() or (services.stop(), os._exit(0)); os.wait(); print('stopped', flush=True); time.sleep(60)"
    with owner_that(ending) as owner:
        owner.go()
        owner.reads("stopped")
        with psycopg.connect(owner.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_ordinary_user_has_servers_that_answer_and_leave_nothing() -> None:
    with owner_that("os.kill(os.getpid(), signal.SIGKILL)", ordinary=True) as owner:
        assert psutil.Process(owner.process.pid).uids().real != 0
        with psycopg.connect(owner.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with redis.Redis.from_url(owner.redis_url) as client:
            assert client.ping()
        owner.go()
        assert owner.leaves_nothing_behind()


def test_stopping_leaves_nothing_and_no_permission_above_is_changed() -> None:
    above = [*Path(sys.prefix).parents, *Path(psycopg.__file__).parents]
    before = [folder.stat().st_mode for folder in above]
    children = psutil.Process().children()
    services = Services(fsync=False).start()
    keepers = [child for child in psutil.Process().children() if child not in children]
    started = [*keepers, *(child for keeper in keepers for child in keeper.children(recursive=True))]
    folders = [services.postgres.log.parent, services.redis.log.parent]
    assert len(started) > 6
    services.stop()
    # A backend of the stopped server may still be on its way out of the kernel.
    psutil.wait_procs(started, timeout=10)
    assert not any(map(is_up, started))
    assert not any(folder.exists() for folder in folders)
    assert [folder.stat().st_mode for folder in above] == before


def test_no_server_runs_as_root() -> None:
    before = psutil.Process().children()  # a browser of other tests, say
    with EmbeddedRedis():
        keepers = [child for child in psutil.Process().children() if child not in before]
        servers = [child for keeper in keepers for child in keeper.children()]
        assert servers
        assert all(server.uids().effective != 0 for server in servers)


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sent_to_everybody_leaves_the_end_to_the_owner(interruption: signal.Signals) -> None:
    before = psutil.Process().children()
    with EmbeddedRedis() as server:
        [keeper] = [child for child in psutil.Process().children() if child not in before]
        keeper.send_signal(interruption)
        server.restart()
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()


def test_a_killed_keeper_takes_its_server_with_it() -> None:
    before = psutil.Process().children()
    server = EmbeddedRedis().start()
    folder = server.log.parent
    [keeper] = [child for child in psutil.Process().children() if child not in before]
    [process] = keeper.children()
    keeper.kill()
    assert soon(lambda: not is_up(process))
    with pytest.raises(ServerFailed, match="Redis: its keeper process is gone"):
        server.pause()
    server.stop()
    assert not folder.exists()
