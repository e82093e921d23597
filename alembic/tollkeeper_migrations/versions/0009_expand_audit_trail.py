"""Expand: the audit trail, an append-only table of who changed what, when, from what to what.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# No foreign keys: an entry outlives what it is about, and must never be what a deed waits for.
_STATEMENTS = """
CREATE TABLE audit_trail (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL CHECK (octet_length(actor) BETWEEN 1 AND 255),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]+\\.[a-z_]+$' AND octet_length(kind) <= 100),
    user_id text,
    subject text NOT NULL CHECK (octet_length(subject) BETWEEN 1 AND 512),
    before jsonb CHECK (jsonb_typeof(before) = 'object'),
    after jsonb CHECK (jsonb_typeof(after) = 'object'),
    reason text
);
CREATE INDEX audit_trail_user_id ON audit_trail (user_id, position) WHERE user_id IS NOT NULL;
CREATE INDEX audit_trail_kind ON audit_trail (kind, position);
COMMENT ON TABLE audit_trail IS
    'who changed what, written in the transaction that changes it; nothing is ever changed or removed here';
COMMENT ON COLUMN audit_trail.user_id IS 'the customer concerned, where there is one';
COMMENT ON COLUMN audit_trail.subject IS 'the thing itself: a customer, a plan, an invoice''s id, a key''s first characters';

CREATE TRIGGER audit_trail_append_only BEFORE UPDATE OR DELETE ON audit_trail
    FOR EACH ROW EXECUTE FUNCTION tollkeeper_append_only();
CREATE TRIGGER audit_trail_never_emptied BEFORE TRUNCATE ON audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION tollkeeper_append_only();
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute("DROP TABLE audit_trail")
