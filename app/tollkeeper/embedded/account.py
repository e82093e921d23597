"""Who the servers run as, and what that account can reach.

PostgreSQL refuses to run as root, and nothing else in here needs root's rights either. So when we are root both servers
run as an account that already exists and may do nothing; no account is made and no permission of an existing folder is
changed.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tollkeeper.embedded.errors import ServerFailed

_NAMES = ("nobody", "daemon", "postgres")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 # only ever the parent of a folder that mkdtemp makes
_MEMORY = Path("/dev/shm")  # noqa: S108 # likewise
_ROOM = 2**30


@dataclass(frozen=True)
class Account:
    """An account other than our own, which a server is started as."""

    uid: int
    gid: int

    def passes(self, folder: Path) -> bool:
        """Whether this account gets into `folder` through all that are above it."""
        real = folder.resolve()
        return all(self._may_pass(place.stat()) for place in (real, *real.parents))

    def own(self, path: Path) -> None:
        """Hands a path that we made over to this account; what is below it too."""
        for below in [path, *path.rglob("*")]:
            os.chown(below, self.uid, self.gid, follow_symlinks=False)

    def _may_pass(self, place: os.stat_result) -> bool:
        if place.st_uid == self.uid:
            return bool(place.st_mode & stat.S_IXUSR)
        return bool(place.st_mode & (stat.S_IXGRP if place.st_gid == self.gid else stat.S_IXOTH))


def serving_account(data: Path | None = None) -> Account | None:
    """The account that servers run as; `None` is our own.

    As root it is the owner of a data folder that exists already (so a folder first used by an ordinary user stays
    theirs), else one that may do nothing.
    """
    if os.geteuid() != 0:
        return None
    if data is not None and data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    for name in _NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ServerFailed("PostgreSQL", f"does not run as root, and there is none of the accounts {', '.join(_NAMES)}")


def open_to_all(path: Path) -> bool:
    """Whether every account can pass all folders above `path`, and read and run `path` itself."""
    real = path.resolve()
    # A link has folders above it on both its ends.
    passable = all(folder.stat().st_mode & stat.S_IXOTH for folder in (*path.absolute().parents, *real.parents))
    return passable and real.stat().st_mode & 0o005 == 0o005


def temporary_parent(account: Account | None, in_memory: bool) -> Path:
    """Where temporary folders go: the usual place, or with another account the first one that this account reaches.

    `in_memory` asks for a file system in memory; a machine that has none with room on it gives the usual place.
    """
    if in_memory and _roomy(_MEMORY):
        return _MEMORY
    usual = Path(tempfile.gettempdir())
    if account is None:
        return usual
    for place in (usual, *map(Path, _TEMPORARY)):
        if place.is_dir() and open_to_all(place):
            return place
    raise ServerFailed("PostgreSQL", "no temporary folder that an account other than root reaches; set TMPDIR to one")


def _roomy(place: Path) -> bool:
    if not os.access(place, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC
