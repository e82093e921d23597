"""What the pages under docs/ say is there: links, commands with their options, plan files, examples that run."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from tollkeeper.cli import main
from tollkeeper.domain.plan_file import parse_plans

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    wanted = "|".join(languages)
    return re.findall(rf"^```(?:{wanted})\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def each(*languages: str) -> list[object]:
    return [
        pytest.param(page, block, id=f"{page.relative_to(ROOT)}-{n}")
        for page in PAGES
        for n, block in enumerate(blocks(page, *languages))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page)) + re.findall(
        r'(?:src|href)="([^"#]+)"', text_of(page)
    )
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]

    assert [link for link in inside if not (page.parent / link).exists()] == []


def commands_in(text: str) -> list[str]:
    """Every call of `tollkeeper` in blocks of code and in running text, without what the shell does with it."""
    code = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    in_blocks = re.findall(r"^(?:\s*\$ )?(?:\w+=\$\()?(tollkeeper [a-z][^\n]*)$", code, re.MULTILINE)
    in_text = re.findall(r"`(tollkeeper [a-z][^`\n]*)`", text)
    plain = [re.sub(r"\$\([^)]*\)", "value", command) for command in in_blocks + in_text]
    return [re.split(r"[|)#;>…]| &&", command)[0].strip() for command in plain]


def every_command() -> list[object]:
    return [
        pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")
        for page in PAGES
        if "reference" not in page.parts
        for command in dict.fromkeys(commands_in(text_of(page)))
    ]


@pytest.mark.parametrize("line", every_command())
def test_every_command_exists_with_the_options_it_is_shown_with(line: str) -> None:
    _, *words = shlex.split(line)
    command: click.Command = main
    context = click.Context(main, info_name="tollkeeper")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0].rstrip(",.:"))
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    known = {option for parameter in (*command.get_params(context), *main.params) for option in parameter.opts}

    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in known] == []


@pytest.mark.parametrize(("page", "block"), each("toml"))
def test_every_plan_file_is_one(page: Path, block: str) -> None:
    if "[plans." in block:
        assert parse_plans(block)


@pytest.mark.parametrize(("page", "block"), each("python"))
def test_every_python_example_runs_as_it_stands(
    page: Path, block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Up to where a server would call it; what it then does is tested where it belongs."""
    for name in [name for name in os.environ if name.startswith(("TOLLKEEPER_", "STRIPE_", "PAYSTACK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TOLLKEEPER_JOURNAL_DIR", str(tmp_path))

    exec(compile(block, str(page), "exec"), {"__name__": "example"})
