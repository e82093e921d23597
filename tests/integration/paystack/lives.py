"""Random lives of invoices at a Paystack that fails in every way it can; a seed says what happens in which order."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_invoices import PaystackInvoices
from tollkeeper.services.authorizing import cards_of, choose_card
from tollkeeper.services.collecting import Collectors, collect_owed, follow_collected

from .conftest import Collecting

FAULTS = ("drop_before", "drop_after", "error_before", "error_after", "rate_limit")
PATHS = ("*", "/customer*", "/paymentrequest", "/paymentrequest/*", "/transaction/*")
PATIENCE = 0.4
OUTCOMES = ("success", "failed", "processing")


class Killed(BaseException):
    """The process is gone, between two calls or after one."""


class Mortal:
    """Paystack as a process sees it that may be killed before and after each call."""

    def __init__(self, payments: PaystackPayments, dice: random.Random) -> None:
        self.payments = payments
        self._dice = dice
        self.danger = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.payments, name)

        def call(*positional: Any, **named: Any) -> Any:
            if self._dice.random() < self.danger:
                raise Killed
            answer = method(*positional, **named)
            if self._dice.random() < self.danger:
                raise Killed
            return answer

        return call


class Life:
    """Three customers' invoices, from the close until all is paid."""

    def __init__(self, collecting: Collecting, seed: int) -> None:
        self._dice = random.Random(seed)
        self._collecting = collecting
        self._standin = collecting.standin
        impatient = PaystackPayments(self._standin.secret_key, api_base=collecting.url, timeout_seconds=PATIENCE)
        self._mortal = Mortal(impatient, self._dice)
        database = collecting.ledger.database
        self._collectors: Collectors = {"paystack": PaystackInvoices(self._mortal, cards_of(database))}  # type: ignore[arg-type] # it has the same methods
        self._heard = 0

    def run(self) -> None:
        self._begin()
        self._mortal.danger = 0.04
        for _ in range(self._dice.randint(5, 20)):
            self._dice.choice(
                (self._collect, self._collect, self._follow, self._fail, self._pay, self._hear, self._wait)
            )()
        self._mend()

    def _begin(self) -> None:
        for n, user in enumerate(("ada", "bo", "cy")):
            self._collecting.close(self._dice.randint(1, 10_000), user_id=user)
            email = f"{user}@example.com"
            self._collecting.ledger.run("UPDATE customers SET email = :e WHERE user_id = :u", e=email, u=user)
            if self._dice.random() < 0.6:
                self._standin.add_card(email, outcomes=self._dice.choices(OUTCOMES, k=n + 1))
                choose_card(
                    self._collecting.ledger.database,
                    self._collecting.payments,
                    user,
                    "4081",
                    self._collecting.clock.now(),
                )

    def _collect(self) -> None:
        def one() -> None:
            with suppress(Killed):
                collect_owed(
                    self._collecting.ledger.database, self._collectors, now=self._collecting.clock.now(), insist=insist
                )

        insist = self._dice.random() < 0.3
        if self._dice.random() < 0.3:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda _: one(), range(2)))
        else:
            one()

    def _follow(self) -> None:
        with suppress(Killed):
            follow_collected(
                self._collecting.ledger.database,
                self._collectors,
                now=self._collecting.clock.now(),
                insist=self._dice.random() < 0.5,
            )

    def _fail(self) -> None:
        if self._dice.random() < 0.1:
            # Longer than the caller waits: applied after it has gone away, and maybe after it has come back.
            return self._standin.inject(
                "hang_before", method="POST", path=self._dice.choice(PATHS), seconds=2 * PATIENCE
            )
        return self._standin.inject(
            self._dice.choice(FAULTS), path=self._dice.choice(PATHS), times=self._dice.randint(1, 3), status=503
        )

    def _pay(self) -> None:
        """Customers and banks do what they do, whoever knows of it."""
        for request in self._standin.payment_requests():
            if request["status"] == "pending" and not request.get("archived") and self._dice.random() < 0.7:
                self._standin.pay(request["request_code"])
        for transaction in self._standin.transactions():
            if transaction["status"] == "processing":
                self._standin.settle(transaction["reference"], self._dice.choice(("success", "failed")))

    def _hear(self) -> None:
        """Some of the events, in any order, some of them twice."""
        events = self._standin.events()
        for event in self._dice.choices(events, k=len(events)) if events else ():
            self._collecting.receive(event)
        self._collecting.apply_pending()

    def _wait(self) -> None:
        self._collecting.clock.advance(timedelta(minutes=self._dice.choice((1, 7, 31, 60, 240, 1_500))))

    def _mend(self) -> None:
        """All goes well from now on, until everything is paid."""
        self._mortal.danger, self._mortal.payments = 0, self._collecting.payments
        self._standin.clear_faults()
        for _ in range(20):
            self._collecting.clock.advance(timedelta(hours=13))
            self._collect()
            self._pay()
            self._follow()
            if all(invoice["status"] == "paid" for invoice in self._invoices()):
                return

    def _invoices(self) -> list[dict[str, Any]]:
        return self._collecting.ledger.rows("SELECT * FROM invoices ORDER BY user_id")

    def check(self) -> None:
        """Each invoice is paid, once, in full, and nobody has to look at anything."""
        invoices = self._invoices()
        assert [invoice["status"] for invoice in invoices] == ["paid"] * 3
        assert [invoice["alarm"] for invoice in invoices] == [None] * 3
        paid = [one["amount"] for one in self._standin.transactions() if one["status"] == "success"]
        assert sorted(paid) == sorted(invoice["total_amount"] for invoice in invoices)
        assert self._standin.collected() == sum(invoice["total_amount"] for invoice in invoices)
        assert not [one for one in self._standin.payment_requests() if one["status"] == "pending"]
