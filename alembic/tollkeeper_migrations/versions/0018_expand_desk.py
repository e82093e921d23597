"""Expand: lists that operators page through, each in its order; and the figures of the desk, which are added up beforehand.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE INDEX invoices_listed ON invoices (created_at, id);
CREATE INDEX invoices_listed_by_status ON invoices (status, created_at, id);
CREATE INDEX invoices_alarmed ON invoices (created_at, id) WHERE alarm IS NOT NULL;
CREATE INDEX stripe_reports_listed ON stripe_reports (created_at, id);
CREATE INDEX stripe_reports_listed_by_state ON stripe_reports (state, created_at, id);
CREATE INDEX webhook_events_listed ON webhook_events (received_at, provider, event_id);
CREATE INDEX webhook_events_listed_by_state ON webhook_events (state, received_at, provider, event_id);
CREATE INDEX notices_listed ON notices (created_at, id);

CREATE TABLE desk_figures (
    name text PRIMARY KEY,
    figures jsonb NOT NULL,
    as_of timestamptz NOT NULL
);
COMMENT ON TABLE desk_figures IS 'sums over all customers, taken now and then, so that no page waits for them';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE desk_figures;
        DROP INDEX invoices_listed, invoices_listed_by_status, invoices_alarmed, stripe_reports_listed,
            stripe_reports_listed_by_state, webhook_events_listed, webhook_events_listed_by_state,
            notices_listed;
        """
    )
