from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

Refusal = Callable[..., stripe.InvalidRequestError]


def test_a_customer_is_created_and_found_again(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create(
        {"email": "ada@example.com", "name": "Ada", "address": {"city": "Paris"}, "metadata": {"user_id": "u-1"}}
    )

    found = client.v1.customers.retrieve(customer.id)

    assert customer.id.startswith("cus_")
    assert found.to_dict() == customer.to_dict()
    assert found.address is not None
    assert (found.email, found.name, found.address.city) == ("ada@example.com", "Ada", "Paris")
    assert (found.balance, found.next_invoice_sequence, found.livemode) == (0, 1, False)
    assert found.metadata is not None
    assert found.metadata["user_id"] == "u-1"


def test_metadata_is_merged_key_by_key_and_an_empty_value_takes_its_key_away(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"metadata": {"a": "1", "b": "2"}})

    merged = client.v1.customers.update(customer.id, {"metadata": {"b": "", "c": "3"}})
    assert merged.metadata is not None
    assert merged.metadata.to_dict() == {"a": "1", "c": "3"}

    emptied = client.v1.customers.update(customer.id, {"metadata": ""})
    assert emptied.metadata is not None
    assert emptied.metadata.to_dict() == {}


def test_an_empty_string_unsets_what_may_be_unset(client: stripe.StripeClient, refusal: Refusal) -> None:
    customer = client.v1.customers.create({"address": {"city": "Paris"}})

    assert client.v1.customers.update(customer.id, {"address": ""}).address is None
    assert refusal(lambda: client.v1.customers.update(customer.id, {"name": ""})).code == "parameter_invalid_empty"


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key{number}": "x" for number in range(51)},
        {"k" * 41: "x"},
        {"key": "v" * 501},
    ],
)
def test_metadata_has_stripes_limits(client: stripe.StripeClient, refusal: Refusal, metadata: dict[str, str]) -> None:
    assert refusal(lambda: client.v1.customers.create({"metadata": metadata})).http_status == 400
    largest = {f"{number:040}": "v" * 500 for number in range(50)}
    assert client.v1.customers.create({"metadata": largest})


def test_an_email_has_at_most_512_characters(client: stripe.StripeClient, refusal: Refusal) -> None:
    customer = client.v1.customers.create({"email": "e" * 512})

    assert refusal(lambda: client.v1.customers.create({"email": "e" * 513})).param == "email"
    assert refusal(lambda: client.v1.customers.update(customer.id, {"email": "e" * 513})).param == "email"


def test_a_deleted_customer_is_known_as_such_and_as_nothing_else(client: stripe.StripeClient, refusal: Refusal) -> None:
    customer = client.v1.customers.create({"email": "ada@example.com"})

    deleted = client.v1.customers.delete(customer.id)

    assert deleted.to_dict() == {"id": customer.id, "object": "customer", "deleted": True}
    assert client.v1.customers.retrieve(customer.id).to_dict() == deleted.to_dict()
    assert client.v1.customers.list().data == []
    assert refusal(lambda: client.v1.customers.delete(customer.id)).http_status == 404
    assert refusal(lambda: client.v1.customers.update(customer.id, {"name": "Ada"})).http_status == 404


def test_an_unknown_customer_is_a_404(client: stripe.StripeClient, refusal: Refusal) -> None:
    error = refusal(lambda: client.v1.customers.retrieve("cus_nobody"))

    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")


def test_customers_are_listed_newest_first_and_by_email(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    first = standin.add_customer(email="ada@example.com")
    second = standin.add_customer("cus_of_my_own", email="grace@example.com")

    assert [one.id for one in client.v1.customers.list()] == [second, first] == ["cus_of_my_own", first]
    assert [one.id for one in client.v1.customers.list({"email": "ada@example.com"})] == [first]


def test_customers_are_listed_by_when_they_were_created(
    standin: StripeStandIn, clock: FrozenClock, client: stripe.StripeClient
) -> None:
    at = int(clock.now().timestamp())
    ids = []
    for _ in range(3):
        ids.append(standin.add_customer())
        clock.advance(timedelta(seconds=1))
    early, middle, late = ids

    def found(created: stripe.params.CustomerListParamsCreated | int) -> set[str]:
        return {one.id for one in client.v1.customers.list({"created": created})}

    assert found(at + 1) == {middle}
    assert found({"gt": at}) == {middle, late}
    assert found({"gte": at + 1}) == {middle, late}
    assert found({"lt": at + 1}) == {early}
    assert found({"lte": at + 1}) == {early, middle}
    assert found({"gt": at, "lt": at + 2}) == {middle}


def test_pages_follow_each_other_in_both_directions(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    newest_first = [standin.add_customer() for _ in range(25)][::-1]

    forward = [one.id for one in client.v1.customers.list({"limit": 10}).auto_paging_iter()]
    backward = client.v1.customers.list({"limit": 10, "ending_before": newest_first[-1]})

    assert forward == newest_first
    assert [one.id for one in backward.auto_paging_iter()] == newest_first[:-1][::-1]


def test_a_page_before_the_first_entries_says_that_there_are_no_more(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    newest_first = [standin.add_customer() for _ in range(4)][::-1]

    def has_more(ending_before: str) -> bool:
        return client.v1.customers.list({"limit": 2, "ending_before": ending_before}).has_more

    assert (has_more(newest_first[2]), has_more(newest_first[3])) == (False, True)


def test_a_page_has_ten_entries_unless_asked_otherwise(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    for _ in range(11):
        standin.add_customer()

    page = client.v1.customers.list()

    assert (len(page.data), page.has_more, page.url) == (10, True, "/v1/customers")
    assert client.v1.customers.list({"limit": 11}).has_more is False


def test_cursors_and_limits_that_make_no_sense_are_refused(
    standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal
) -> None:
    there = standin.add_customer()

    assert refusal(lambda: client.v1.customers.list({"limit": 0})).param == "limit"
    assert refusal(lambda: client.v1.customers.list({"limit": 101})).param == "limit"
    assert refusal(lambda: client.v1.customers.list({"starting_after": "cus_nobody"})).param == "starting_after"
    assert refusal(lambda: client.v1.customers.list({"ending_before": "cus_nobody"})).param == "ending_before"
    both = refusal(lambda: client.v1.customers.list({"ending_before": there, "starting_after": there}))
    assert both.http_status == 400
