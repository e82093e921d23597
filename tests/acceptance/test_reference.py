"""docs/reference/ says what the code says: what comes out now is what stands in the repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.mark.parametrize("page", ["commands.md", "settings.md", "tables.md"])
def test_the_page_is_what_the_code_says(page: str, written: Path, migrated_database_url: str) -> None:
    spec = importlib.util.spec_from_file_location("build_reference", DOCS / "build_reference.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build(written, migrated_database_url)

    assert (written / page).read_text() == (DOCS / "reference" / page).read_text(), "run: make docs"
