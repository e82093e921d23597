"""Expand: usage that could not be attributed waits where a person sees it, and goes back from there once mended.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE usage_quarantine (
    id uuid PRIMARY KEY,
    source text NOT NULL CHECK (source IN ('import', 'journal')),
    payload text NOT NULL,
    event_id text,
    user_id text,
    reason text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'accepted', 'dropped')),
    attempts integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    tried_at timestamptz NOT NULL
);
CREATE INDEX usage_quarantine_waiting ON usage_quarantine (created_at, id) WHERE state = 'waiting';
COMMENT ON TABLE usage_quarantine IS 'usage that was refused: what it said, and why; billed nowhere while it waits';
COMMENT ON COLUMN usage_quarantine.id IS 'made from what the row says, so that a file imported twice leaves it once';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute("DROP TABLE usage_quarantine")
