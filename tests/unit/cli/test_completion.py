"""Completion as a real bash does it: the script is sourced, and asked as the Tab key asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tollkeeper.cli import main


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no-files")]
)
def test_each_shell_gets_its_own_script(shell: str, mark: str) -> None:
    answer = CliRunner().invoke(main, ["completion", shell])

    assert answer.exit_code == 0
    assert mark in answer.output


def test_bash_completes_commands_and_their_options(tmp_path: Path) -> None:
    command = tmp_path / "tollkeeper"
    program = 'from tollkeeper.cli import main; main(prog_name="tollkeeper")'
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{program}' \"$@\"\n")
    command.chmod(0o755)
    asked = ("invoices pre", "usage show --js")
    script = 'eval "$(tollkeeper completion bash)"\n' + "".join(
        f"COMPREPLY=(); COMP_WORDS=(tollkeeper {words}); COMP_CWORD={len(words.split())}; "
        '_tollkeeper_completion tollkeeper; echo "${COMPREPLY[@]}"\n'
        for words in asked
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": path})

    assert done.stdout.split() == ["preview", "--json"], done.stderr
