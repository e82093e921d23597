"""Metering as it is usually written first: everything asked of the database anew, one statement at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp


class Base(DeclarativeBase):
    pass


class NaivePlan(Base):
    __tablename__ = "naive_plans"
    id: Mapped[int] = mapped_column(primary_key=True)
    monthly_tokens: Mapped[int]


class NaiveCustomer(Base):
    __tablename__ = "naive_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    api_key: Mapped[str]
    plan_id: Mapped[int] = mapped_column(ForeignKey("naive_plans.id"))


class NaiveUsage(Base):
    __tablename__ = "naive_usage"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("naive_customers.id"))
    created_at: Mapped[datetime]
    model: Mapped[str]
    tokens: Mapped[int]


class NaiveMetering(BaseHTTPMiddleware):
    """Plan, sum of the month, the route, one row and a commit, for each request."""

    def __init__(self, app: ASGIApp, database_url: str) -> None:
        super().__init__(app)
        url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_async_engine(url, pool_size=32)
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        now = datetime.now(UTC).replace(tzinfo=None)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        async with self._sessions() as session:
            customer = (
                await session.execute(
                    select(NaiveCustomer.id, NaivePlan.monthly_tokens)
                    .join(NaivePlan, NaivePlan.id == NaiveCustomer.plan_id)
                    .where(NaiveCustomer.api_key == key)
                )
            ).first()
            if customer is None:
                return JSONResponse({"error": "unknown key"}, status_code=401)
            used = await session.scalar(
                select(func.sum(NaiveUsage.tokens)).where(
                    NaiveUsage.customer_id == customer.id, NaiveUsage.created_at >= month
                )
            )
            if (used or 0) >= customer.monthly_tokens:
                return JSONResponse({"error": "limit reached"}, status_code=402)
            response = await call_next(request)
            assert isinstance(response, StreamingResponse) or hasattr(response, "body_iterator")
            content = b"".join([bytes(part) async for part in response.body_iterator])
            answer = json.loads(content)
            session.add(
                NaiveUsage(
                    customer_id=customer.id,
                    created_at=now,
                    model=answer["model"],
                    tokens=answer["usage"]["total_tokens"],
                )
            )
            await session.commit()
        return Response(content, status_code=response.status_code, headers=dict(response.headers))
