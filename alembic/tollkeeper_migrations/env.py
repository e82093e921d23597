"""How Alembic reaches our database: over the connection that `tollkeeper.storage.migrating` hands in."""

from __future__ import annotations

from alembic import context

VERSION_TABLE = "tollkeeper_alembic_version"

connection = context.config.attributes.get("connection")
context.configure(
    connection=connection,
    dialect_name=None if connection is not None else "postgresql",
    # Written out, a percent sign is one: it is the driver that wants two.
    dialect_opts={"paramstyle": "named"} if connection is None else {},
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    as_sql=connection is None,
    literal_binds=connection is None,
)
with context.begin_transaction():
    context.run_migrations()
