"""Expand: changes by hand in SQL stand in the audit trail, too.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Our own connections say who they are, and their deeds write entries of their own. The schema is named, because whoever works
# by hand has a search path of their own.
_FUNCTION = """
CREATE FUNCTION tollkeeper_changed_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    becomes jsonb := to_jsonb(NEW);
    before jsonb;
    after jsonb;
BEGIN
    SELECT jsonb_object_agg(key, was -> key), jsonb_object_agg(key, becomes -> key) INTO before, after
    FROM jsonb_object_keys(becomes) AS key WHERE was -> key IS DISTINCT FROM becomes -> key;
    IF before ? 'email' THEN
        before := before || jsonb_build_object('email', regexp_replace(before ->> 'email', '^(.).*@', '\\1…@'));
        after := after || jsonb_build_object('email', regexp_replace(after ->> 'email', '^(.).*@', '\\1…@'));
    END IF;
    EXECUTE format('INSERT INTO %I.audit_trail (at, actor, kind, user_id, subject, before, after)
                    VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6)', TG_TABLE_SCHEMA)
    USING left('sql ' || session_user, 200), TG_ARGV[0] || '.changed_by_hand', becomes ->> 'user_id',
          coalesce(becomes ->> 'id', becomes ->> 'user_id'), before, after;
    RETURN NULL;
END $$;
"""
_HAND = "(OLD.* IS DISTINCT FROM NEW.* AND current_setting('application_name') NOT LIKE 'tollkeeper%')"
_WATCHED = {
    "plans": ("plan", ""),
    # Columns that the close moves on are none of those.
    "customers": (
        "customer",
        "OF email, plan_id, stripe_customer_id, status, period_anchor, own_spend_cap, own_discount_percent, own_prices",
    ),
    "invoices": ("invoice", "OF status, total_amount, currency, user_id, period_start, period_end, collect"),
}


def upgrade() -> None:
    op.execute(_FUNCTION)
    for table, (thing, columns) in _WATCHED.items():
        op.execute(
            f"CREATE TRIGGER {table}_changed_by_hand AFTER UPDATE {columns} ON {table} FOR EACH ROW WHEN {_HAND} "
            f"EXECUTE FUNCTION tollkeeper_changed_by_hand('{thing}')"
        )


def downgrade() -> None:
    for table in _WATCHED:
        op.execute(f"DROP TRIGGER {table}_changed_by_hand ON {table}")
    op.execute("DROP FUNCTION tollkeeper_changed_by_hand()")
