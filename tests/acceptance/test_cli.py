"""Every command against a real database, as somebody types it: what is printed, where, and with which exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner, Result

from tollkeeper.cli import main
from tollkeeper.domain.keys import hash_key, looks_like_key
from tollkeeper.runtime import Runtime
from tollkeeper.settings import read_settings
from tollkeeper.storage.database import all_rows, change
from tollkeeper.testing import StripeStandIn
from tollkeeper.testing.clock import FrozenClock

PLANS = """
[plans.pro]
name = "Pro"
currency = "usd"
base_fee = "99.00"
spend_cap = "250.00"
included_tokens = 500_000
quota_tokens = 2_000_000
rate_limit = "60/minute"

[[plans.pro.prices]]
model = "gpt-4o*"
per = 1_000
tiers = [
  { up_to = 100_000, price = "0" },
  { up_to = 1_000_000, price = "0.003" },
  { up_to = "inf", price = "0.002" },
]
"""


class Terminal:
    """Runs commands on one database at a time that stands still."""

    def __init__(self, database_url: str, redis_url: str, clock: FrozenClock, folder: Path, **settings: object) -> None:
        self.clock = clock
        self.runtime = Runtime(read_settings(database_url=database_url, redis_url=redis_url, **settings), clock=clock)
        self._folder = folder

    def __call__(self, *arguments: str, exit_code: int = 0, stdin: str = "") -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin, obj=self.runtime, catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """The one document that a command prints."""
        result = self(*arguments, "--json", exit_code=exit_code)
        assert result.stderr == ""
        return json.loads(result.stdout)

    def file(self, name: str, text: str) -> str:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def usage(self, *rows: dict[str, Any]) -> str:
        """A file of usage, each row with what it does not say itself."""
        least = {"user_id": "ada", "timestamp": "2026-10-03T10:00:00Z", "model_id": "gpt-4o", "tokens_in": 0}
        lines = [
            json.dumps({"id": str(UUID(int=number)), "tokens_out": 0, **least, **row})
            for number, row in enumerate(rows, 1)
        ]
        return self.file("usage.jsonl", "\n".join(lines))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.runtime.database.transaction() as connection:
            return all_rows(connection, statement)


@pytest.fixture
def terminal(migrated_database_url: str, redis_url: str, clock: FrozenClock, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(migrated_database_url, redis_url, clock, tmp_path)
    yield terminal
    terminal.runtime.close()


@pytest.fixture
def ada(terminal: Terminal) -> Terminal:
    """A terminal whose database has the plan `pro` and the customer `ada` on it since October."""
    now = terminal.clock.set(datetime(2026, 10, 1, tzinfo=UTC))
    terminal("plans", "apply", terminal.file("plans.toml", PLANS))
    terminal(
        "customers", "add", "ada", "--email", "ada@example.com", "--plan", "pro", "--stripe-customer-id", "cus_ada"
    )
    terminal.clock.set(now + timedelta(days=45, hours=12))
    return terminal


# db


def test_db_upgrade_brings_an_empty_database_to_the_newest_schema_and_can_be_repeated(
    empty_database_url: str, redis_url: str, clock: FrozenClock, tmp_path: Path
) -> None:
    terminal = Terminal(empty_database_url, redis_url, clock, tmp_path)

    missing = terminal("plans", "list", exit_code=2)
    assert missing.stderr == (
        "tollkeeper: the database does not have the schema of this version; run: tollkeeper db upgrade\n"
    )
    first = terminal("db", "upgrade").stdout.splitlines()
    assert first[0].startswith("schema: from nothing to 00")
    assert first[1] == "partitions: 2026-11, 2026-12, 2027-01, 2027-02"
    again = terminal("db", "upgrade").stdout.splitlines()
    assert again[0].endswith("already")
    assert again[1] == "partitions: all there already"
    assert terminal("plans", "list").exit_code == 0
    terminal.runtime.close()


def test_db_upgrade_into_a_schema_of_its_own_touches_no_other(
    empty_database_url: str, redis_url: str, clock: FrozenClock, tmp_path: Path
) -> None:
    terminal = Terminal(empty_database_url, redis_url, clock, tmp_path, db_schema="billing")

    terminal("db", "upgrade")

    schemas = terminal.rows("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'usage%'")
    assert schemas == [{"schemaname": "billing"}]
    terminal("plans", "apply", terminal.file("plans.toml", PLANS))
    terminal.runtime.close()


def test_db_sql_prints_statements_that_make_the_same_schema_when_somebody_runs_them(
    terminal: Terminal, empty_database_url: str, migrated_database_url: str
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(terminal("db", "sql").stdout.encode())

    def made(url: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(
                """
                SELECT 'column', table_name, column_name || ' ' || data_type FROM information_schema.columns
                WHERE table_schema = current_schema()
                UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
                UNION ALL SELECT 'version', version_num, '' FROM tollkeeper_alembic_version ORDER BY 1, 2, 3
                """
            ).fetchall()

    assert made(empty_database_url) == made(migrated_database_url)


# plans


def test_plans_apply_says_what_it_does_and_then_that_nothing_is_left_to_do(terminal: Terminal) -> None:
    path = terminal.file("plans.toml", PLANS)

    assert terminal("plans", "apply", path).stdout == "pro: created\n"
    assert terminal("plans", "apply", path).stdout == "pro: unchanged\n"


def test_plans_apply_shows_a_new_version_with_every_field(terminal: Terminal) -> None:
    terminal("plans", "apply", terminal.file("plans.toml", PLANS))
    changed = PLANS.replace('"99.00"', '"109.00"').replace('"250.00"', '"300.00"')
    path = terminal.file("plans.toml", changed)

    told = [
        "pro: new version 2, counts from each customer's next period on",
        "  base_fee: $99.00 -> $109.00",
        "  spend_cap: $250.00 -> $300.00 (at the next request)",
    ]
    tried = terminal("plans", "apply", path, "--dry-run").stdout.splitlines()
    assert tried == [*told, "Nothing was changed, because of --dry-run."]
    assert terminal("plans", "apply", path).stdout.splitlines() == told


def test_plans_apply_now_counts_for_the_open_periods(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"timestamp": "2026-11-02T00:00:00Z", "tokens_in": 1_000_000}))
    assert ada.json("usage", "show", "ada")["current"]["spent"] == 120  # 400,000 at $0.003 a thousand

    path = ada.file("plans.toml", PLANS.replace('"0.003"', '"0.005"'))
    printed = ada("plans", "apply", path, "--now").stdout

    assert printed.splitlines()[0] == "pro: new version 2, counts from the periods that are open on"
    assert ada.json("usage", "show", "ada")["current"]["spent"] == 200  # 400,000 at $0.005


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PLANS.replace('"0.003"', '"-0.003"'), "plans.pro.prices[0].tiers[1].price: expected a price as a string"),
        (PLANS.replace("base_fee", "basefee"), "plans.pro.basefee: expected a known key (currency, "),
        ("[plans.pro", "plan file: expected TOML, but"),
    ],
)
def test_a_malformed_plan_file_is_one_line_and_nothing_is_applied(
    terminal: Terminal, text: str, complaint: str
) -> None:
    good = '[plans.free]\ncurrency = "usd"\n\n'
    result = terminal("plans", "apply", terminal.file("plans.toml", good + text), exit_code=2)

    assert result.stdout == ""
    assert result.stderr.startswith(f"tollkeeper: {complaint}")
    assert result.stderr.count("\n") == 1
    assert terminal.rows("SELECT * FROM plans") == []


def test_a_plan_file_that_is_not_there_or_not_text_is_a_mistake(terminal: Terminal, tmp_path: Path) -> None:
    assert "No such file" in terminal("plans", "apply", str(tmp_path / "no.toml"), exit_code=2).stderr
    assert terminal("plans", "apply", str(tmp_path), exit_code=2).stdout == ""
    (tmp_path / "latin.toml").write_bytes('[plans."é"]'.encode("latin-1"))
    assert "expected UTF-8 text" in terminal("plans", "apply", str(tmp_path / "latin.toml"), exit_code=2).stderr


def test_plans_list_shows_money_in_minor_units_beside_its_currency(ada: Terminal) -> None:
    (plan,) = ada.json("plans", "list")

    assert (plan["id"], plan["currency"], plan["base_fee"], plan["spend_cap"]) == ("pro", "usd", 9_900, 25_000)
    assert (plan["version"], plan["customers"], plan["rate_limit"]) == (1, 1, "60/minute")
    assert plan["prices"][0]["tiers"][1] == {"up_to": 1_000_000, "price": "0.3", "flat_fee": "0"}
    assert "$250.00" in ada("plans", "list").stdout


# customers and keys


def test_customers_add_says_whether_the_customer_was_there(ada: Terminal) -> None:
    again = ada("customers", "add", "ada", "--email", "ada@example.com", "--plan", "pro")
    assert again.stdout == "ada: was there already, the same, on plan pro\n"

    other = ada("customers", "add", "ada", "--email", "eve@example.com", "--plan", "pro", exit_code=2)
    assert other.stderr == "tollkeeper: customer 'ada' exists already, with email ada@example.com\n"


def test_an_anchor_may_be_a_date_and_needs_an_offset_if_it_is_a_time(terminal: Terminal) -> None:
    text = '[plans.yearly]\ncurrency = "usd"\ninterval = "anniversary"\n'
    terminal("plans", "apply", terminal.file("plans.toml", text))
    add = ("customers", "add", "bob", "--email", "b@example.com", "--plan", "yearly", "--period-anchor")

    naive = terminal(*add, "2026-01-31T00:00:00", exit_code=2)
    assert "expected an ISO 8601 time with an offset" in naive.stderr
    terminal(*add, "2026-01-31")
    assert terminal.rows("SELECT period_anchor FROM customers") == [
        {"period_anchor": datetime(2026, 1, 31, tzinfo=UTC)}
    ]


def test_customers_plan_moves_a_customer(ada: Terminal) -> None:
    ada("plans", "apply", ada.file("more.toml", '[plans.free]\ncurrency = "usd"\n'))

    assert (
        ada("customers", "plan", "ada", "free").stdout == "ada: from plan pro to free, prices from the next period on\n"
    )
    assert ada("customers", "plan", "ada", "free").stdout == "ada: on plan free already\n"
    assert [customer["plan_id"] for customer in ada.json("customers", "list")] == ["free"]


def test_customers_change_changes_what_is_given(ada: Terminal) -> None:
    printed = ada("customers", "change", "ada", "--email", "new@example.com", "--status", "suspended").stdout

    assert printed == "ada: suspended, new@example.com, at Stripe cus_ada\n"
    nowhere = ada("customers", "change", "bob", "--email", "b@example.com", exit_code=2)
    assert nowhere.stderr == "tollkeeper: no customer 'bob'\n"


def test_the_key_is_the_last_line_printed_and_only_its_hash_is_kept(ada: Terminal) -> None:
    result = ada("keys", "issue", "ada")
    key = result.stdout.strip()

    assert looks_like_key(key)
    assert result.output.splitlines()[-1] == key
    assert ada.rows("SELECT key_hash FROM api_keys") == [{"key_hash": hash_key(key)}]
    dumped = json.dumps(ada.rows("SELECT * FROM api_keys"), default=str)
    assert key not in dumped

    assert ada("keys", "revoke", key[:11]).stdout == f"{key[:11]}… of ada: revoked\n"
    assert "was revoked already" in ada("keys", "revoke", key).stdout
    (listed,) = ada.json("keys", "list", "ada")
    assert (listed["prefix"], listed["revoked_at"]) == (key[:11], "2026-11-15T12:00:00Z")


def test_a_key_is_replaced_and_works_on_for_the_overlap(ada: Terminal) -> None:
    old = ada("keys", "issue", "ada").stdout.strip()
    rotated = ada("keys", "rotate", old[:11], "--overlap", "36h")
    new = rotated.stdout.strip()

    assert looks_like_key(new)
    assert f"{old[:11]}… of ada works until 2026-11-17T00:00:00Z" in rotated.stderr
    assert [key["revoked_at"] for key in ada.json("keys", "list", "ada")] in (
        ["2026-11-17T00:00:00Z", None],
        [None, "2026-11-17T00:00:00Z"],
    )
    assert ada("keys", "revoke", old).stdout == f"{old[:11]}… of ada: revoked\n"
    assert "such as 24h" in ada("keys", "rotate", new, "--overlap", "soon", exit_code=2).stderr


def test_a_key_for_nobody_is_a_mistake(ada: Terminal) -> None:
    assert ada("keys", "issue", "bob", exit_code=2).stderr == "tollkeeper: no customer 'bob'\n"


# usage


def test_usage_import_tells_bad_rows_on_stderr_and_the_counts_last(ada: Terminal) -> None:
    path = ada.usage({"tokens_in": 1_000}, {"tokens_in": -1}, {"id": str(UUID(int=1)), "tokens_in": 1_000})

    result = ada("usage", "import", path, exit_code=1)

    assert result.stderr == "line 2: tokens_in: expected a whole number from 0 to 2^63 - 1\n"
    assert result.stdout == "accepted 1 duplicate 1 rejected 1\n"


def test_usage_import_reads_csv_and_standard_input(ada: Terminal) -> None:
    header = "id,user_id,timestamp,model_id,tokens_in,tokens_out"
    text = f"{header}\n{UUID(int=1)},ada,2026-10-03T10:00:00Z,gpt-4o,5,7\n"

    assert ada("usage", "import", ada.file("u.csv", text)).stdout == "accepted 1 duplicate 0 rejected 0\n"
    assert ada("usage", "import", "-", stdin=text).stdout == "accepted 0 duplicate 1 rejected 0\n"


def test_usage_import_goes_by_the_name_of_the_file(ada: Terminal) -> None:
    result = ada("usage", "import", ada.file("usage.xlsx", ""), exit_code=2)

    assert result.stderr == "tollkeeper: FILE: expected a name that ends in .jsonl or .csv, or - for standard input\n"
    assert "does not exist" in ada("usage", "import", "no.csv", exit_code=2).stderr


def test_usage_show_tells_the_period_of_now_and_the_last_ones(ada: Terminal) -> None:
    november = "2026-11-02T00:00:00Z"
    ada("usage", "import", ada.usage(
        {"tokens_in": 600_000, "tokens_out": 400_000},
        {"timestamp": november, "tokens_in": 900_000, "cached_tokens_in": 100_000, "tokens_out": 100_000},
    ))  # fmt: skip

    shown = ada.json("usage", "show", "ada")

    current = shown.pop("current")
    assert {key: shown[key] for key in shown if key != "recent"} == {
        "user_id": "ada",
        "status": "active",
        "plan_id": "pro",
        "spend_cap": 25_000,
        "percent_of_cap": 0,
        "quota_tokens": 2_000_000,
        "percent_of_quota": 50,
    }
    # 1,000,000 tokens less 500,000 included: 100,000 free, 400,000 at 0.3 cents a thousand
    assert (current["spent"], current["currency"], current["tokens"]) == (120, "usd", 1_000_000)
    assert (current["period_start"], current["period_end"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert [(q["model_id"], q["token_type"], q["quantity"]) for q in current["quantities"]] == [
        ("gpt-4o", "cached_input", 100_000),
        ("gpt-4o", "input", 800_000),
        ("gpt-4o", "output", 100_000),
        ("gpt-4o", "requests", 1),
    ]
    assert [(period["period_start"], period["spent"]) for period in shown["recent"]] == [("2026-10-01T00:00:00Z", 120)]
    text = ada("usage", "show", "ada").stdout
    assert "tokens  1,000,000 of 2,000,000, 50 %" in text
    assert "spent   $1.20 of $250.00, 0 %" in text


def test_usage_show_of_a_customer_who_used_nothing_is_an_empty_period(ada: Terminal) -> None:
    current = ada.json("usage", "show", "ada")["current"]

    assert (current["events"], current["spent"], current["quantities"]) == (0, 0, [])
    assert (current["period_start"], current["status"]) == ("2026-11-01T00:00:00Z", "open")
    assert ada("usage", "show", "bob", exit_code=2).stderr == "tollkeeper: no customer 'bob'\n"


# invoices, Stripe, reconcile


def test_a_backfilled_month_is_drafted_once_and_shown_to_the_cent(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1_500_000, "tokens_out": 500_000}))

    drafted = ada("invoices", "draft", "--as-of", "2026-11-01").stdout
    assert drafted == "closed 1 drafted 1 closed before 0 parked 0\n"
    assert ada("invoices", "draft").stdout == "closed 0 drafted 0 closed before 1 parked 0\n"

    (listed,) = ada.json("invoices", "list")
    assert ada.json("invoices", "list", "--user", "ada") == [listed]
    shown = ada.json("invoices", "show", listed["id"])
    lines = shown.pop("lines")
    assert shown == listed
    assert (shown["status"], shown["currency"], shown["total_amount"]) == ("draft", "usd", 10_270)
    # 2,000,000 less 500,000 included: 100,000 free, 900,000 at $0.003 and 500,000 at $0.002 a thousand, and the base fee
    assert [(line["kind"], line["quantity"], line["amount"]) for line in lines] == [
        ("usage", 100_000, 0),
        ("usage", 900_000, 270),
        ("usage", 500_000, 100),
        ("base_fee", 1, 9_900),
    ]
    assert sum(line["amount"] for line in lines) == shown["total_amount"]
    assert "$102.70" in ada("invoices", "show", listed["id"]).stdout
    assert "$102.70" in ada("invoices", "list").stdout


def test_a_period_that_ends_after_as_of_stays_open(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1}))

    assert ada("invoices", "draft", "--as-of", "2026-10-31T23:59:59Z").stdout.startswith("closed 0 drafted 0")
    assert ada("invoices", "draft", "--as-of", "2026-11-01T01:00:00+01:00").stdout.startswith("closed 1 drafted 1")


def test_a_preview_says_what_the_draft_will_say(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"timestamp": "2026-11-02T00:00:00Z", "tokens_in": 1_000_000}))

    preview = ada.json("invoices", "preview", "ada")

    assert (preview["total_amount"], preview["currency"]) == (10_020, "usd")
    assert "total" in ada("invoices", "preview", "ada").stdout
    ada("invoices", "draft", "--as-of", "2026-12-01")
    drafted = ada.json("invoices", "list")
    assert drafted[0]["total_amount"] == preview["total_amount"]


def test_an_invoice_that_does_not_exist_is_a_mistake(ada: Terminal) -> None:
    assert ada("invoices", "show", "seven", exit_code=2).stderr == "tollkeeper: no invoice 'seven'\n"
    assert ada("invoices", "show", str(UUID(int=7)), exit_code=2).stderr.startswith("tollkeeper: no invoice ")
    assert ada("invoices", "list", "--user", "bob", exit_code=2).stderr == "tollkeeper: no customer 'bob'\n"


def test_reporting_needs_a_stripe_key(ada: Terminal) -> None:
    result = ada("stripe", "report", exit_code=2)
    assert result.stderr == "tollkeeper: STRIPE_API_KEY is not set; it is needed to report to Stripe\n"


def test_reporting_says_why_something_waits(
    ada: Terminal, migrated_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    ada("customers", "add", "bob", "--email", "bob@example.com", "--plan", "pro")
    row = {"user_id": "bob", "tokens_in": 1_000, "tokens_out": 500}
    ada("usage", "import", ada.usage(row))
    standin = StripeStandIn(ada.clock)
    standin.add_meter("ai_tokens")
    with standin.serve() as served:
        terminal = Terminal(
            migrated_database_url, redis_url, ada.clock, tmp_path,
            stripe_api_key=standin.api_key, stripe_api_base=served.url,
        )  # fmt: skip
        ada("invoices", "draft")
        told = terminal("stripe", "report", exit_code=1)
        terminal.runtime.close()

    assert told.stdout.startswith("sent 0 acknowledged 0 pending 2 rejected 0 ")  # input and output
    assert told.stderr == "2 not acknowledged: the customer has no stripe_customer_id\n"


def test_what_was_drafted_is_reported_counted_once_and_reconciled(
    migrated_database_url: str, redis_url: str, ada: Terminal, tmp_path: Path
) -> None:
    standin = StripeStandIn(ada.clock)
    standin.add_customer("cus_ada")
    standin.add_meter("ai_tokens")
    ada("usage", "import", ada.usage({"tokens_in": 1_500_000, "tokens_out": 500_000}))
    with standin.serve() as served:
        terminal = Terminal(
            migrated_database_url, redis_url, ada.clock, tmp_path,
            stripe_api_key=standin.api_key, stripe_api_base=served.url,
        )  # fmt: skip
        ada("invoices", "draft")

        told = terminal("stripe", "report").stdout
        again = terminal("stripe", "report").stdout
        ada.clock.advance(timedelta(hours=2))
        terminal("reconcile")
        document = terminal.json("reconcile")
        terminal.runtime.close()

    assert told == "sent 2 acknowledged 2 pending 0 rejected 0 invoices finalized 1\n"
    assert again == "sent 0 acknowledged 0 pending 0 rejected 0 invoices finalized 0\n"
    assert sorted(event["payload"]["value"] for event in standin.meter_events()) == ["1500000", "500000"]
    assert document["ok"] is True
    assert [invoice["status"] for invoice in ada.json("invoices", "list")] == ["finalized"]


def test_reconcile_exits_1_when_a_total_was_tampered_with(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1_000}))
    ada("reconcile")
    with ada.runtime.database.transaction() as connection:
        change(connection, "SET LOCAL session_replication_role = replica")
        change(connection, "UPDATE usage_events SET tokens_in = 999")

    assert ada.json("reconcile", exit_code=1)["ok"] is False


# doctor


def test_doctor_finds_nothing_to_mend_where_all_is_well(ada: Terminal) -> None:
    ada.clock.set(datetime.now(UTC))
    ada("db", "upgrade")

    report = ada.json("doctor")

    checks = {check["name"]: check["state"] for check in report["checks"]}
    assert report["ok"] is True
    assert checks == {
        "database": "ok", "clock": "ok", "migrations": "ok", "partitions": "ok", "invoices": "ok", "totals": "ok",
        "redis": "ok", "eviction": "ok", "stripe": "ok", "paystack": "ok", "mail": "warning",
        "outbox": "ok", "beat": "warning", "worker": "warning", "reconciling": "warning",
    }  # fmt: skip
    assert report["versions"]["tollkeeper"]
    assert "Everything that is needed works." in ada("doctor").stdout


def test_doctor_looks_on_when_something_is_broken_and_shows_no_secret(
    migrated_database_url: str, clock: FrozenClock, tmp_path: Path
) -> None:
    nobody = "redis://:hunter2@127.0.0.1:1/0"
    terminal = Terminal(
        migrated_database_url, nobody, clock, tmp_path, smtp_url="smtp://ada:hunter2@127.0.0.1:1", mail_from="a@example.com"
    )  # fmt: skip

    report = terminal.json("doctor", exit_code=1)

    checks = {check["name"]: check["state"] for check in report["checks"]}
    assert (checks["database"], checks["redis"], checks["mail"]) == ("ok", "failed", "failed")
    assert "hunter2" not in json.dumps(report)
    assert "hunter2" not in terminal("doctor", exit_code=1).output
    terminal.runtime.close()


def test_doctor_finds_money_that_does_not_add_up(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1_000_000}))
    ada("invoices", "draft")
    with ada.runtime.database.transaction() as connection:
        change(connection, "UPDATE invoice_line_items SET amount = amount + 1 WHERE position = 1")

    report = ada.json("doctor", exit_code=1)

    assert {check["name"] for check in report["checks"] if check["state"] == "failed"} >= {"invoices"}


def test_doctor_says_which_setting_is_missing_and_which_command_mends_the_schema(
    empty_database_url: str, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "TOLLKEEPER_DATABASE_URL", "REDIS_URL", "TOLLKEEPER_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    bare = CliRunner().invoke(main, ["doctor"], obj=Runtime(read_settings(), clock=clock))
    assert bare.exit_code == 1
    assert "DATABASE_URL) is not set" in bare.stdout

    runtime = Runtime(read_settings(database_url=empty_database_url), clock=clock)
    unmigrated = CliRunner().invoke(main, ["doctor"], obj=runtime)
    assert unmigrated.exit_code == 1
    assert "run: tollkeeper db upgrade" in unmigrated.stdout
    runtime.close()


def test_a_period_that_was_parked_is_listed_and_released_by_name(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 500_000}))
    with ada.runtime.database.transaction() as connection:
        change(connection, "UPDATE usage_periods SET events = 7")
    assert "parked 1" in ada("invoices", "draft", "--as-of", "2026-11-01", exit_code=1).stdout
    [parked] = json.loads(ada("invoices", "parked", "--json", exit_code=1).stdout)
    assert parked["parked_reason"] == "1 events, 7 in the running totals"
    assert "1 events, 7 in the running totals" in ada("invoices", "parked", exit_code=1).stdout
    with ada.runtime.database.transaction() as connection:
        change(connection, "UPDATE usage_periods SET events = 1")

    released = ada("invoices", "release", "ada", "2026-10-01", "--by", "eve", "--reason", "mended")

    assert released.stdout.startswith("ada: the period of 2026-10-01T00:00:00Z is released")
    assert ada("invoices", "parked").stdout == ""
    assert ada("invoices", "draft", "--as-of", "2026-11-01").stdout.startswith("closed 1 drafted 1")
    again = ada("invoices", "release", "ada", "2026-10-01", "--by", "eve", "--reason", "mended", exit_code=2)
    assert again.stderr == "tollkeeper: no parked period 'ada 2026-10-01T00:00:00+00:00'\n"


def test_an_invoice_is_adjusted_drafted_anew_and_void_by_name(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1_500_000}))
    ada("invoices", "draft", "--as-of", "2026-11-01")
    [first] = ada.json("invoices", "list")
    named = ("--by", "eve", "--reason", "as agreed")

    refused = ada("invoices", "adjust", "ada", "--amount", "five", *named, exit_code=2)
    chosen = str(UUID(int=7))
    made = ada("invoices", "adjust", "ada", "--amount", "-5.00", *named, "--id", chosen).stdout.splitlines()
    new = ada("invoices", "redraft", first["id"], *named).stdout.splitlines()
    ada("invoices", "void", new[-1], *named)

    assert refused.stderr.startswith("tollkeeper: amount: expected an amount of usd")
    assert made == ["ada: -$5.00 on the next invoice", chosen]
    assert new[0] == f"ada: drafted anew as revision 2, $96.70; invoice {first['id']} is void"
    shown = ada.json("invoices", "show", new[-1])
    assert [(line["kind"], line["amount"]) for line in shown["lines"]][-1] == ("adjustment", -500)
    assert (shown["status"], shown["void_reason"]) == ("void", "as agreed")
    [adjustment] = ada.json("invoices", "adjustments", "ada")
    assert (adjustment["amount"], adjustment["invoice_id"]) == (-500, None)
    assert ada("invoices", "void", new[-1], *named, exit_code=2).stderr == (
        "tollkeeper: invoice: expected a draft; this one is void\n"
    )


def test_an_event_is_reversed_by_name_once(ada: Terminal) -> None:
    ada("usage", "import", ada.usage({"tokens_in": 1_500_000}))
    call = ("usage", "reverse", str(UUID(int=1)), "--by", "eve", "--reason", "sent twice")
    assert ada(*call).stdout.startswith(f"ada: event {UUID(int=1)} is reversed, -$")
    assert ada(*call).stdout == f"ada: event {UUID(int=1)} was reversed before; nothing changed\n"
    assert ada.json("usage", "show", "ada")["recent"] == []


def test_a_row_of_an_unknown_customer_waits_in_quarantine_until_the_customer_is_there(ada: Terminal) -> None:
    path = ada.usage({"tokens_in": 5}, {"user_id": "eve", "tokens_in": 7}, {"user_id": "mallory"})
    imported = ada("usage", "import", path, exit_code=1)
    assert imported.stdout.splitlines()[-1] == "accepted 1 duplicate 0 rejected 2"
    waiting = json.loads(ada("usage", "quarantine", "list", "--json", exit_code=1).stdout)
    assert [(one["user_id"], one["reason"]) for one in sorted(waiting, key=lambda one: str(one["user_id"]))] == [
        ("eve", "user_id: expected a customer that exists"),
        ("mallory", "user_id: expected a customer that exists"),
    ]
    ada("customers", "add", "eve", "--email", "eve@example.com", "--plan", "pro")

    assert ada("usage", "quarantine", "retry", exit_code=1).stdout == "accepted 1 still waiting 1\n"
    [mallory] = [one["id"] for one in waiting if one["user_id"] == "mallory"]
    assert mallory in ada("usage", "quarantine", "list", exit_code=1).stdout
    dropped = ada("usage", "quarantine", "drop", mallory, "--by", "ada", "--reason", "a test")
    assert dropped.stdout == "dropped 1\n"
    assert ada("usage", "quarantine", "list").stdout == ""
    assert len(ada.json("usage", "quarantine", "list", "--all")) == 2
    assert ada("usage", "import", path, exit_code=1).stdout == "accepted 0 duplicate 2 rejected 1\n"
