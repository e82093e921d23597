"""Who acts: said once by an edge, the host's own code where nobody says it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tollkeeper.acting import acting_as, current_actor


def test_a_name_holds_within_its_block_and_the_one_outside_comes_back() -> None:
    assert current_actor() == "app"
    with acting_as("cli ada"):
        with acting_as("stripe evt_1"):
            assert current_actor() == "stripe evt_1"
        assert current_actor() == "cli ada"
    assert current_actor() == "app"


def test_a_name_of_any_length_fits_the_column_and_none_is_the_app() -> None:
    with acting_as("é" * 200):
        assert current_actor() == "é" * 127
    with acting_as(""):
        assert current_actor() == "app"


def test_requests_at_once_each_have_their_own_name() -> None:
    async def request(name: str) -> str:
        with acting_as(name):
            await asyncio.sleep(0)
            return await asyncio.to_thread(current_actor)

    async def both() -> list[str]:
        return list(await asyncio.gather(request("ada"), request("bob")))

    assert asyncio.run(both()) == ["ada", "bob"]
    with acting_as("cli ada"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_actor).result() == "app", "a thread of one's own starts without a name"
