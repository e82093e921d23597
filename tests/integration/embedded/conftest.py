from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tollkeeper.embedded.account import serving_account, temporary_parent


@pytest.fixture
def keep() -> Iterator[Path]:
    """The name of a folder to keep data in, in a place that every account reaches, in memory where there is room."""
    place = Path(tempfile.mkdtemp(dir=temporary_parent(serving_account(), in_memory=True)))
    place.chmod(0o711)
    yield place / "kept"
    shutil.rmtree(place)
