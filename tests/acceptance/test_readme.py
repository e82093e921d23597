"""What the README shows is run: its apps serve and meter, its plan applies, its commands work as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from integration.metering.conftest import Desk
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.storage.database import Database

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(migrated_database_url: str) -> Iterator[Desk]:
    with Database(migrated_database_url) as database:
        yield Desk(database)


@pytest.fixture
def environment(migrated_database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("TOLLKEEPER_JOURNAL_DIR", str(tmp_path / "journal"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def app_of(block: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    return names["app"]


def test_the_fastapi_example_meters_what_it_shows(environment: Path, desk: Desk) -> None:
    desk.plan()
    key = desk.customer("alice")
    [block] = [block for block in blocks("python") if "FastAPI()" in block]

    with TestClient(app_of(block), headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.post("/v1/chat/completions", json={"model": "gpt-4o"}).json()["usage"]["total_tokens"] == 10
        assert client.post("/v1/images").status_code == 200
        assert client.get("/billing/healthz").json() == {"status": "ok"}
        assert client.post("/v1/images", headers={"Authorization": "Bearer nobody"}).status_code == 401

    rows = [(row["model_id"], row["tokens_in"], row["tokens_out"], row["units"]) for row in desk.events()]
    assert rows == [("gpt-4o", 9, 1, {}), ("my-model", 120, 0, {"images": 2})]


def test_the_starlette_example_meters_by_headers_that_the_client_never_sees(environment: Path, desk: Desk) -> None:
    desk.plan()
    key = desk.customer("alice")
    [block] = [block for block in blocks("python") if "Starlette(" in block]

    with TestClient(app_of(block), headers={"X-API-Key": key}) as client:
        answer = client.post("/v1/answer")

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("x-tokens")]
    assert [(row["model_id"], row["tokens_in"], row["tokens_out"]) for row in desk.events()] == [("my-model", 120, 40)]


def test_the_commands_work_as_they_stand_with_the_plan_as_it_stands(
    environment: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [plan] = [block for block in blocks("toml") if "[plans.pro]" in block]
    (environment / "plans.toml").write_text(plan)
    [commands] = [block for block in blocks("bash") if "plans apply" in block]
    commands = re.sub(r"^export .*$", "", commands, flags=re.MULTILINE)
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    done = subprocess.run(
        ["bash", "-euc", commands], cwd=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("tk_")
    assert parse_plans(plan)[0].spend_cap == 25_000


def test_every_file_and_folder_that_the_readme_names_exists() -> None:
    root = Path(__file__).parents[2]
    named = set(re.findall(r"`((?:app|tests|workers|alembic|docs|benchmarks)/[\w./-]+)`", README))
    assert named
    assert [path for path in sorted(named) if not (root / path).exists()] == []
