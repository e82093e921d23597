"""Where the command line meets its caller: commands are loaded when they are called, errors become one line and a status."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.domain.errors import TollkeeperError

if TYPE_CHECKING:
    from tollkeeper.runtime import Runtime

MISTAKES = frozenset(
    {
        "already_subscribed",
        "customer_exists",
        "extra_missing",
        "invalid_input",
        "not_found",
        "not_set_up",
        "plan_file_error",
        "plan_unfit",
        "setting_missing",
        "stripe_customer_taken",
    }
)
"""Codes of errors that the caller can mend by saying something else: exit status 2. Every other error is 1."""

_NOT_MIGRATED = frozenset({"42P01", "42703", "42883"})  # undefined table, column, function


class Failure(click.ClickException):
    """One line on standard error, and an exit status."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def show(self, file: Any = None) -> None:
        click.echo(f"tollkeeper: {self.message}", file=file, err=file is None)


class Mistake(Failure):
    """What the caller can mend."""

    exit_code = 2


class Edge(click.Group):
    """The top of the command tree. `commands_in` names each command's module; there it has its own name."""

    def __init__(self, *args: Any, commands_in: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._commands_in:
            return None
        command = getattr(import_module(self._commands_in[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table alone, so that asking for help loads nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in self._commands_in.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            raise failure from error


def as_failure(error: Exception) -> Failure | None:
    """What the caller is told about an error; None for one that nobody foresaw."""
    if isinstance(error, TollkeeperError):
        return Mistake(str(error)) if error.code in MISTAKES else Failure(str(error))
    cause = getattr(error, "orig", error)
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in _NOT_MIGRATED:
        return Mistake("the database does not have the schema of this version; run: tollkeeper db upgrade")
    if isinstance(sqlstate, str):
        return Failure(f"PostgreSQL refused: {str(cause).strip().splitlines()[0]}")
    if isinstance(error, OSError) and error.strerror and not isinstance(error, BrokenPipeError):
        return Failure(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return None


def os_user() -> str:
    """Who is logged in here; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def runtime() -> Runtime:
    """What this call works with, built from the environment when a command first asks."""
    from tollkeeper.runtime import Runtime

    root = click.get_current_context().find_root()
    if root.obj is None:
        root.obj = Runtime()
        root.call_on_close(root.obj.close)
    assert isinstance(root.obj, Runtime)
    return root.obj
