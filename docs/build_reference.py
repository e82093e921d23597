"""Writes `docs/reference/`: commands, settings and tables, out of the code that they are the reference of.

`make docs` runs it, on a PostgreSQL of its own; a test compares what stands in the repository with what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psycopg
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from tollkeeper.cli import main
from tollkeeper.embedded.postgres import EmbeddedPostgres
from tollkeeper.settings import Settings
from tollkeeper.storage.migrating import upgrade

HEAD = "<!-- Written by docs/build_reference.py; change the code it comes from and run `make docs`. -->\n"


def commands() -> Iterator[str]:
    """Every command with its help, as the command line itself tells it."""
    yield f"{HEAD}\n# Commands\n"
    yield "`--json` prints one JSON document and nothing else. A mistake of the caller is one line on standard error and exit status 2."
    for path, command in _walk("tollkeeper", main, None):
        if isinstance(command, click.Group):
            continue
        context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
        yield f"\n## {path}\n\n```text\n{command.get_help(context).strip()}\n```"


def _walk(path: str, command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, parent=parent)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, "a group knows the commands that it lists"
            yield from _walk(f"{path} {name}", below, context)


def settings() -> Iterator[str]:
    """Every setting: its variable, its default, and what it means."""
    yield f"{HEAD}\n# Settings\n"
    yield "Environment variables, read once. The argument of the same name to `MeteringMiddleware` or `read_settings` wins over them.\n"
    yield "| variable | argument | default | meaning |\n|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        yield f"| {_variables(field)} | `{name}` | {_default(field)} | {_meaning(field)} |"


def _variables(field: FieldInfo) -> str:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return ", else ".join(f"`{choice}`" for choice in choices if isinstance(choice, str) and choice.isupper())


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "in the temp folder"
    value: Any = field.default
    if value is None:
        return "unset"
    return "set" if isinstance(value, SecretStr) else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    assert field.description, "every setting has a docstring"
    return " ".join(field.description.split()).replace("|", "\\|")


def tables(url: str) -> Iterator[str]:
    """Every table with its columns, as they stand in the database, and what was said of them in its migrations."""
    yield f"{HEAD}\n# Tables\n"
    yield (
        "Timestamps are UTC, periods half-open `[period_start, period_end)`. Money is an integer of minor units beside its "
        "currency, a unit price or a cost not yet rounded is `numeric`."
    )
    with psycopg.connect(url) as connection:
        for table, about in connection.execute(_TABLES).fetchall():
            yield f"\n## {table}\n"
            if about:
                yield f"{about}.\n"
            yield "| column | type | |\n|---|---|---|"
            for column, kind, needed, comment in connection.execute(_COLUMNS, (table,)).fetchall():
                null = "" if needed else "may be null"
                yield f"| `{column}` | {kind} | {'; '.join(part for part in (null, comment) if part)} |"


_TABLES = """
SELECT c.relname, obj_description(c.oid) FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
  AND c.relname <> 'tollkeeper_alembic_version' ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute AS a WHERE a.attrelid = to_regclass(quote_ident(%s)) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


def build(folder: Path, url: str) -> None:
    """Write all pages."""
    folder.mkdir(exist_ok=True)
    for name, lines in (("commands", commands()), ("settings", settings()), ("tables", tables(url))):
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with EmbeddedPostgres() as server:
        upgrade(server.url)
        build(Path(__file__).parent / "reference", server.url)
