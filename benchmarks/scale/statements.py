"""The plain statements that the close is compared with, and the one that puts everything back for the next round."""

from __future__ import annotations

GROUP_BY = """
SELECT count(*), sum(input), sum(output), sum(cached), sum(cost), sum(requests) FROM (
    SELECT user_id, model_id, sum(tokens_in) AS input, sum(tokens_out) AS output, sum(cached_tokens_in) AS cached,
           sum(cost_units) AS cost, count(*) AS requests
    FROM usage_events WHERE "timestamp" >= %(start)s AND "timestamp" < %(end)s GROUP BY user_id, model_id) AS summed
"""
"""What a month used, the way one writes it first; one row leaves the server, so that only the counting is timed.
Each sum is used, or the server would not work it out."""

READ_TOTALS = "SELECT count(*), sum(octet_length(totals::text)) FROM usage_periods WHERE period_start = %(start)s"
"""The same figures where they are kept, written out in full."""

READ_VIEW = "SELECT count(*), sum(quantity) FROM usage_totals WHERE period_start = %(start)s"

DRAFT_TABLES = """
CREATE TABLE IF NOT EXISTS plain_invoices (LIKE invoices INCLUDING ALL);
CREATE TABLE IF NOT EXISTS plain_lines (LIKE invoice_line_items INCLUDING ALL);
TRUNCATE plain_invoices, plain_lines
"""
DRAFT = """
WITH used AS (
    SELECT u.user_id, u.period_start, u.period_end, gen_random_uuid() AS invoice_id, model.key AS model_id,
           coalesce((model.value ->> 'input')::numeric, 0) + coalesce((model.value ->> 'cached_input')::numeric, 0)
           + coalesce((model.value ->> 'output')::numeric, 0) AS quantity
    FROM (SELECT *, gen_random_uuid() AS id FROM usage_periods WHERE period_start = %(start)s) AS u,
         LATERAL jsonb_each(u.totals) AS model
), tiered AS (
    SELECT used.user_id, used.period_start, used.period_end, used.model_id, tier.price, tier.number,
           least(used.quantity, tier.up_to) - tier.above AS quantity
    FROM used JOIN (
        SELECT model, number, above, up_to, price
        FROM unnest(%(models)s::text[]) WITH ORDINALITY AS m(model, n),
             LATERAL (VALUES (1, 0, 200000::numeric, (n + 1) * 0.0001), (2, 200000, 1e18, n * 0.0001)) AS t(number, above, up_to, price)
    ) AS tier ON tier.model = used.model_id AND used.quantity > tier.above
), invoiced AS (
    INSERT INTO plain_invoices (id, user_id, period_start, period_end, currency, total_amount, plan_id, plan_version, collect,
                                arrival_cutoff, created_at)
    SELECT gen_random_uuid(), user_id, period_start, period_end, 'usd', sum(round(quantity * price)), 'pro', 1, 'invoices',
           %(end)s, %(end)s
    FROM tiered GROUP BY user_id, period_start, period_end RETURNING id, user_id
)
INSERT INTO plain_lines (invoice_id, position, kind, model_id, token_type, quantity, unit_amount_decimal, amount, description,
                         period_start, period_end)
SELECT invoiced.id, row_number() OVER (PARTITION BY user_id ORDER BY model_id, number), 'usage', model_id, '*', quantity, price,
       round(quantity * price), model_id || ', all tokens: ' || quantity || ' at ' || price, period_start, period_end
FROM tiered JOIN invoiced USING (user_id)
"""
"""The same invoices with the tariff written in SQL, from the totals where they are kept, in one statement."""

REOPEN = (
    "SET session_replication_role = replica",
    "TRUNCATE invoice_line_items, invoices, audit_trail CASCADE",
    "UPDATE usage_periods SET status = 'open', billed_totals = NULL, revision = 1, closed_at = NULL "
    "WHERE period_start = %(start)s",
    "SET session_replication_role = origin",
    "VACUUM usage_periods",
    "CHECKPOINT",
)
