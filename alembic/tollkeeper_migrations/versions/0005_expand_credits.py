"""Expand: credits, as grants and an append-only ledger of what was added to them and drawn from them.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE credit_grants (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES customers,
    unit text NOT NULL CHECK (unit = 'tokens' OR unit ~ '^[a-z]{3}$'),
    amount bigint NOT NULL CHECK (amount > 0),
    balance bigint NOT NULL DEFAULT 0 CONSTRAINT credit_grants_not_overdrawn CHECK (balance >= 0),
    priority smallint NOT NULL DEFAULT 50,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz CHECK (expires_at > granted_at),
    every text CHECK (every = 'month'),
    carries_over boolean NOT NULL DEFAULT false,
    at_most bigint CHECK (at_most >= amount),
    CHECK (every IS NOT NULL OR (NOT carries_over AND at_most IS NULL))
);
CREATE INDEX credit_grants_user_id ON credit_grants (user_id);
COMMENT ON COLUMN credit_grants.unit IS 'a currency, whose minor units are counted, or tokens';
COMMENT ON COLUMN credit_grants.balance IS 'the sum of the grant''s entries; kept by a trigger, never below zero';
COMMENT ON COLUMN credit_grants.every IS 'the amount comes anew with each billing period';

CREATE TABLE credit_entries (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grant_id uuid NOT NULL REFERENCES credit_grants,
    kind text NOT NULL CHECK (kind IN ('grant', 'renewal', 'draw', 'expiry')),
    amount bigint NOT NULL CHECK (CASE WHEN kind IN ('grant', 'renewal') THEN amount > 0 ELSE amount < 0 END),
    period_start timestamptz NOT NULL,
    invoice_id uuid REFERENCES invoices,
    created_at timestamptz NOT NULL,
    CHECK ((kind = 'draw') = (invoice_id IS NOT NULL))
);
CREATE INDEX credit_entries_grant_id ON credit_entries (grant_id, position);
CREATE UNIQUE INDEX credit_entries_renewed_once ON credit_entries (grant_id, period_start) WHERE kind IN ('grant', 'renewal');
CREATE UNIQUE INDEX credit_entries_drawn_once ON credit_entries (grant_id, invoice_id) WHERE kind = 'draw';

CREATE FUNCTION tollkeeper_credit_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE credit_grants SET balance = balance + NEW.amount WHERE id = NEW.grant_id;
    RETURN NULL;
END $$;
CREATE TRIGGER credit_entries_balance AFTER INSERT ON credit_entries
    FOR EACH ROW EXECUTE FUNCTION tollkeeper_credit_balance();

CREATE FUNCTION tollkeeper_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER credit_entries_append_only BEFORE UPDATE OR DELETE ON credit_entries
    FOR EACH ROW EXECUTE FUNCTION tollkeeper_append_only();
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE credit_entries, credit_grants;
        DROP FUNCTION tollkeeper_credit_balance();
        DROP FUNCTION tollkeeper_append_only();
        """
    )
