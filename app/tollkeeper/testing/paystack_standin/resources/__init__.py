"""The operations of the API: each a method, a path, and what is done."""

from tollkeeper.testing.paystack_standin.resources import customers, payment_requests, transactions

ROUTES = (*customers.ROUTES, *payment_requests.ROUTES, *transactions.ROUTES)
