"""Bring a database to the schema that this version needs."""

from __future__ import annotations

import io

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from tollkeeper.storage.database import sqlalchemy_url, way_to

_LOCK = 0x746F6C6C  # "toll": one migration at a time, whoever starts it


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "tollkeeper_migrations:")
    return config


def upgrade(database_url: str, schema: str | None = None) -> None:
    """Run every migration that has not run yet; two at once queue up, and a second run changes nothing."""
    way = way_to(database_url, schema)
    engine = create_engine(sqlalchemy_url(way), connect_args={**way.arguments, "connect_timeout": 5})
    config = _config()
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if schema is not None:
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def upgrade_sql() -> str:
    """The statements of all migrations, for somebody who runs them by hand."""
    config = _config()
    config.output_buffer = out = io.StringIO()
    command.upgrade(config, "head", sql=True)
    return out.getvalue()


def head() -> str:
    """The newest revision that this version of the code knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found
