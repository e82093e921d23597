"""Expand: which processes are alive, and what reconciling found day by day.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE heartbeats (
    process text PRIMARY KEY CHECK (octet_length(process) BETWEEN 1 AND 300),
    role text NOT NULL CHECK (role IN ('worker', 'beat')),
    version text NOT NULL,
    alive_at timestamptz NOT NULL,
    worked_at timestamptz
);
COMMENT ON COLUMN heartbeats.alive_at IS 'the process itself said so';
COMMENT ON COLUMN heartbeats.worked_at IS 'a message of beat''s went through broker and worker: alone it proves that work is done';

CREATE TABLE reconciliations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    since timestamptz NOT NULL,
    place_user text,
    place_start timestamptz,
    periods integer NOT NULL DEFAULT 0,
    differing integer NOT NULL DEFAULT 0,
    differences text[] NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX reconciliations_one_at_a_time ON reconciliations ((true)) WHERE ended_at IS NULL;
CREATE INDEX reconciliations_ended_at ON reconciliations (ended_at);
COMMENT ON TABLE reconciliations IS 'each daily comparison of events, totals, invoices, reports and Stripe';
COMMENT ON COLUMN reconciliations.place_user IS 'up to where it has come; it goes on from there, whoever goes on';
COMMENT ON COLUMN reconciliations.differences IS 'the first hundred, in words';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute("DROP TABLE reconciliations, heartbeats")
