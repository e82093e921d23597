"""`/metrics` as Prometheus reads it: what requests did, what waits in the database, and no customer in it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tollkeeper import MeteringMiddleware, billing_routes, record_usage
from tollkeeper.domain.keys import hash_key
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.customers import Customer, insert_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.keys import insert_key
from tollkeeper.storage.plans import add_version, save_plan
from tollkeeper.testing import FrozenClock

PLAN = """
[plans.pro]
name = "Pro"
currency = "usd"
spend_cap = "1.00"

[[plans.pro.prices]]
model = "priced"
token_type = "*"
price = "0.001"
"""
KEY = "tk_made_up_for_tests"


@pytest.fixture
def settings(migrated_database_url: str, redis_url: str, tmp_path: Path, clock: FrozenClock) -> Settings:
    with Database(migrated_database_url) as database, database.transaction() as connection:
        (plan,) = parse_plans(PLAN)
        save_plan(connection, plan, clock.now())
        add_version(connection, plan, 1, clock.now(), immediate=False)
        insert_customer(connection, Customer("alice", "alice@example.com", "pro", None, "active", None, clock.now()))
        insert_key(connection, "alice", hash_key(KEY), KEY[:6], clock.now())
    return read_settings(database_url=migrated_database_url, redis_url=redis_url, journal_dir=tmp_path)


async def answer(request: Request) -> JSONResponse:
    model = "priced" if request.query_params.get("priced") else "secret-model"
    record_usage(request, model_id=model, tokens_in=30, tokens_out=12, cached_tokens_in=10)
    return JSONResponse({})


def app(settings: Settings, clock: FrozenClock) -> Starlette:
    inner = Starlette(
        routes=[
            Route("/v1/answer", answer, methods=["POST"]),
            Mount("/billing", billing_routes(settings=settings, clock=clock)),
        ]
    )
    inner.add_middleware(MeteringMiddleware, settings=settings, clock=clock)
    return inner


@pytest.fixture
def client(settings: Settings, clock: FrozenClock) -> Iterator[TestClient]:
    with TestClient(app(settings, clock)) as client:
        yield client


def figures(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_requests_tokens_and_refusals_are_counted_and_no_series_names_a_customer_or_a_model(client: TestClient) -> None:
    before = figures(client.get("/billing/metrics").text)
    key = {"Authorization": f"Bearer {KEY}"}
    statuses = [client.post(f"/v1/answer?priced={priced}", headers=key).status_code for priced in ("1", "", "1")]
    statuses.append(client.post("/v1/answer").status_code)

    answered = client.get("/billing/metrics")
    after = figures(answered.text)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert statuses == [200, 200, 200, 401]
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert grown("tollkeeper_usage_events_total['reported']") == 3
    assert grown("tollkeeper_tokens_total['input']") == 3 * (30 - 10)
    assert grown("tollkeeper_tokens_total['cached_input']") == 3 * 10
    assert grown("tollkeeper_tokens_total['output']") == 3 * 12
    assert grown("tollkeeper_refusals_total['customer_unknown']") == 1
    assert grown("tollkeeper_admission_seconds_count[]") == 4
    assert grown("tollkeeper_settlement_seconds_count[]") == 3
    assert "alice" not in answered.text
    assert "secret-model" not in answered.text


def test_usage_without_a_price_stands_out(client: TestClient, clock: FrozenClock) -> None:
    client.post("/v1/answer", headers={"X-API-Key": KEY})
    first = figures(client.get("/billing/metrics").text)
    client.post("/v1/answer", headers={"X-API-Key": KEY})
    soon = figures(client.get("/billing/metrics").text)
    clock.advance(timedelta(seconds=6))
    later = figures(client.get("/billing/metrics").text)

    assert first["tollkeeper_database_up[]"] == 1
    assert first["tollkeeper_unpriced_events[]"] == 1
    assert soon["tollkeeper_unpriced_events[]"] == 1, "read from the database again only after five seconds"
    assert later["tollkeeper_unpriced_events[]"] == 2


def test_while_the_database_is_away_the_rest_is_still_told(redis_url: str, tmp_path: Path, clock: FrozenClock) -> None:
    settings = read_settings(database_url="postgresql://127.0.0.1:1/none", redis_url=redis_url, journal_dir=tmp_path)
    (tmp_path / "waiting.jsonl").write_text("")
    with TestClient(billing_routes(settings=settings, clock=clock)) as client:
        found = figures(client.get("/metrics").text)

    assert found["tollkeeper_database_up[]"] == 0
    assert found["tollkeeper_journal_files[]"] == 1
    assert "tollkeeper_holds[]" not in found


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 401), ("Bearer wrong", 401), ("Bearer schlüssel", 401), ("scrape-me", 401), ("Bearer scrape-me", 200)],
)
def test_where_a_token_is_set_it_has_to_be_shown(
    settings: Settings, clock: FrozenClock, authorization: str | None, status: int
) -> None:
    guarded = read_settings(database_url=settings.database_url, redis_url=settings.redis_url, metrics_token="scrape-me")
    headers = {} if authorization is None else {b"authorization": authorization.encode()}
    with TestClient(billing_routes(settings=guarded, clock=clock)) as client:
        assert client.get("/metrics", headers=headers).status_code == status


def test_several_processes_are_one_set_of_counters(settings: Settings, clock: FrozenClock, tmp_path: Path) -> None:
    """prometheus-client chooses its way of counting when it is imported, so each of these is a process of its own."""
    folder = tmp_path / "shared"
    folder.mkdir()
    script = textwrap.dedent(
        """
        import sys
        from tollkeeper.telemetry.prometheus import exposition, watch
        if sys.argv[1] == "count":
            watch().refused("rate_limited", 0.001)
        else:
            sys.stdout.buffer.write(exposition([]))
        """
    )

    def run(what: str) -> str:
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", script, what], env=environment, capture_output=True, check=True)
        return done.stdout.decode()

    run("count")
    run("count")

    assert figures(run("show"))["tollkeeper_refusals_total['rate_limited']"] == 2


def test_opentelemetry_gets_spans_and_the_token_metric_where_the_host_has_set_it_up(
    settings: Settings, clock: FrozenClock
) -> None:
    """In a process of its own: OpenTelemetry's set-up is for good."""
    script = textwrap.dedent(
        """
        import json, sys
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route
        from starlette.testclient import TestClient
        from tollkeeper import MeteringMiddleware, record_usage

        spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracer = TracerProvider()
        tracer.add_span_processor(SimpleSpanProcessor(spans))
        trace.set_tracer_provider(tracer)
        metrics.set_meter_provider(MeterProvider([reader]))

        async def answer(request):
            record_usage(request, model_id="gpt-4o", tokens_in=30, tokens_out=12)
            return JSONResponse({})

        app = Starlette(routes=[Route("/v1/answer", answer, methods=["POST"])])
        app.add_middleware(MeteringMiddleware)
        with TestClient(app) as client:
            client.post("/v1/answer", headers={"X-API-Key": sys.argv[1]})
            client.post("/v1/answer")
        points = {}
        for resource in reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "sum", None) or point.value
                        points[f"{metric.name} {dict(point.attributes)}"] = value
        print(json.dumps({
            "spans": [[span.name, dict(span.attributes)] for span in spans.get_finished_spans()], "points": points,
        }))
        """
    )
    environment = {
        "DATABASE_URL": settings.need_database_url(),
        "REDIS_URL": settings.need_redis_url(),
        "TOLLKEEPER_JOURNAL_DIR": str(settings.journal_dir),
    }
    done = subprocess.run([sys.executable, "-c", script, KEY], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout.decode().splitlines()[-1])

    names = [name for name, _ in told["spans"]]
    settled = next(attributes for name, attributes in told["spans"] if name == "tollkeeper.settle")
    assert sorted(names) == ["tollkeeper.admit", "tollkeeper.admit", "tollkeeper.settle"]
    assert settled["gen_ai.usage.input_tokens"] == 30
    assert settled["gen_ai.usage.output_tokens"] == 12
    assert settled["gen_ai.response.model"] == "gpt-4o"
    assert told["points"] == {
        "gen_ai.client.token.usage {'gen_ai.token.type': 'input', 'gen_ai.response.model': 'gpt-4o'}": 30,
        "gen_ai.client.token.usage {'gen_ai.token.type': 'output', 'gen_ai.response.model': 'gpt-4o'}": 12,
        "tollkeeper.refusals {'tollkeeper.refusal': 'customer_unknown'}": 1,
    }
    assert "alice" not in json.dumps(told)
