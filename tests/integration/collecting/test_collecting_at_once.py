"""Several collectors at work at once: each invoice is at Stripe once, with each line once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from integration.closing.ledger import wait_until
from integration.collecting.conftest import PRICED_BY_US, Collecting
from tollkeeper.testing import FaultKind

INVOICES, ITEMS = "/v1/invoices", "/v1/invoiceitems"


def test_workers_at_once_collect_every_invoice_once(collecting: Collecting) -> None:
    for n in range(5):
        collecting.standin.add_customer(f"cus_{n}")
        collecting.close(100, 20, plan=PRICED_BY_US, user_id=f"user-{n}", stripe=f"cus_{n}")
    collecting.standin.inject(FaultKind.HANG_AFTER, method="POST", times=99, seconds=0.01)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(collecting.collect, limit=10) for _ in range(4)]
        issued = sum(run.result().issued for run in runs)
    issued += collecting.collect(limit=10).issued
    assert issued == 5
    assert sorted(one["customer"] for one in collecting.at_stripe()) == [f"cus_{n}" for n in range(5)]
    assert {(one["total"], len(one["lines"]["data"]), one["status"]) for one in collecting.at_stripe()} == {
        (1_120, 2, "open")
    }
    assert len(collecting.made(INVOICES)) == 5
    assert len(collecting.made(ITEMS)) == 10


def test_one_who_was_given_up_stops_before_the_next_call_once_another_has_taken_over(collecting: Collecting) -> None:
    collecting.close(100, 20)
    collecting.standin.inject(FaultKind.HANG_AFTER, method="POST", path=ITEMS, seconds=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(collecting.collect)
        wait_until(lambda: bool(collecting.made(ITEMS)))
        collecting.wait(minutes=10)
        assert collecting.collect().issued == 1
        assert slow.result().issued == 0
    [theirs] = collecting.at_stripe()
    assert (theirs["total"], len(theirs["lines"]["data"])) == (1_120, 2)
    assert len(collecting.made(ITEMS)) == 2, "the first line by the one, the second by the other"
