"""The wheel that is built from this checkout, beside a host project that has packages called `app` and `workers` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel would put into site-packages."""
    built = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", built], cwd=ROOT, check=True)
    [wheel] = built.glob("*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for package in ("app", "workers", "alembic_of_mine"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f'mine = "{package}"\n')
    return tmp_path


def run(host: Path, installed: Path, script: str, **variables: str) -> str:
    """What a script prints that runs in the host project, with the wheel's files before those of this checkout."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONPATH": f"{host}{os.pathsep}{installed}",
        **variables,
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_brings_three_packages_with_their_files_and_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    brought = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(source).as_posix()
        for source in (ROOT / "app", ROOT / "workers", ROOT / "alembic")
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert top == {"tollkeeper", "tollkeeper_workers", "tollkeeper_migrations"}
    assert kept - brought == set()
    assert "tollkeeper/py.typed" in brought


def test_it_works_beside_a_host_that_has_a_package_called_app(
    installed: Path, host: Path, empty_database_url: str, redis_url: str
) -> None:
    script = """
import app, workers
import tollkeeper, tollkeeper_workers, tollkeeper_migrations
from tollkeeper import MeteringMiddleware, billing_routes, record_usage
from tollkeeper.cli import main
from tollkeeper.counters.redis import RedisCounters

print(app.mine, workers.mine)
print(tollkeeper.__file__)
MeteringMiddleware(None)
billing_routes()
RedisCounters("redis://127.0.0.1:1/0", budget_seconds=1)
for command in (["db", "upgrade"], ["doctor"]):
    try:
        main(command)
    except SystemExit as done:
        print("exit", done.code)
"""
    printed = run(host, installed, script, DATABASE_URL=empty_database_url, REDIS_URL=redis_url).splitlines()

    assert printed[0] == "app workers"
    assert Path(printed[1]).is_relative_to(installed)
    assert [line for line in printed if line.startswith("exit")] == ["exit 0", "exit 0"]


def test_importing_it_pulls_in_neither_celery_nor_stripe(installed: Path, host: Path) -> None:
    script = "import sys, tollkeeper; print([name for name in ('celery', 'stripe', 'fastapi') if name in sys.modules])"

    assert run(host, installed, script) == "[]\n"
