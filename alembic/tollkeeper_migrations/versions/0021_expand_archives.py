"""Expand: months of usage that were archived, with what their events added up to.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE archived_months (
    month timestamptz PRIMARY KEY,
    file text NOT NULL,
    events bigint NOT NULL CHECK (events >= 0),
    bytes bigint NOT NULL CHECK (bytes >= 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    archived_at timestamptz NOT NULL
);
COMMENT ON TABLE archived_months IS 'months whose rows of usage_events are in a file; no event of theirs is taken any more';

CREATE TABLE archived_sums (
    month timestamptz NOT NULL REFERENCES archived_months,
    user_id text NOT NULL,
    period_start timestamptz NOT NULL,
    revision smallint NOT NULL,
    taken_back boolean NOT NULL,
    events bigint NOT NULL,
    sums jsonb NOT NULL CHECK (jsonb_typeof(sums) = 'object'),
    PRIMARY KEY (user_id, period_start, month, revision, taken_back)
);
COMMENT ON TABLE archived_sums IS 'what the archived events of a period add up to, so that its totals can still be proven';

CREATE TRIGGER archived_sums_append_only BEFORE UPDATE OR DELETE ON archived_sums
    FOR EACH ROW EXECUTE FUNCTION tollkeeper_append_only();
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute("DROP TABLE archived_sums, archived_months")
