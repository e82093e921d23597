"""`tollkeeper completion`: what a shell reads to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: echo 'eval "$(tollkeeper completion bash)"' >> ~/.bashrc
    """
    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    click.echo(kind(root.command, {}, "tollkeeper", "_TOLLKEEPER_COMPLETE").source())
