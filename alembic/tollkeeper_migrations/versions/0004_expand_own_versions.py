"""Expand: versions of a plan for one customer alone, and usage without a price to be found fast.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE plan_versions ADD COLUMN user_id text REFERENCES customers,
    ADD COLUMN purpose text NOT NULL DEFAULT 'plan' CHECK (purpose IN ('plan', 'override', 'trial', 'rating')),
    ADD COLUMN until timestamptz,
    ADD CONSTRAINT plan_versions_owner CHECK ((purpose = 'plan') = (user_id IS NULL)),
    ADD CONSTRAINT plan_versions_until CHECK ((purpose = 'trial') = (until IS NOT NULL));
CREATE INDEX plan_versions_user_id ON plan_versions (user_id) WHERE user_id IS NOT NULL;
COMMENT ON COLUMN plan_versions.user_id IS 'null: for everybody on the plan; else for this customer alone';
COMMENT ON COLUMN plan_versions.purpose IS
    'rating: made for periods that were moved to it because something in them had no price, and chosen by no other';
COMMENT ON COLUMN plan_versions.until IS 'a trial: counts for periods that end at or before this instant';

CREATE INDEX usage_events_unpriced ON usage_events (user_id, "timestamp") WHERE unpriced;
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX usage_events_unpriced;
        ALTER TABLE plan_versions DROP COLUMN until, DROP COLUMN purpose, DROP COLUMN user_id;
        """
    )
