"""Expand: each line remembers which revision of its period it bills, so that its very events can be listed.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE invoice_line_items ADD COLUMN revision smallint NOT NULL DEFAULT 1 CHECK (revision >= 1);
        COMMENT ON COLUMN invoice_line_items.revision IS
            'the line bills events of its own period that carry this revision';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE invoice_line_items DROP COLUMN revision")
