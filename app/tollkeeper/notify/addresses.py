"""Where a URL that somebody else named may lead: to public addresses only, and to the very address that was looked at."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from tollkeeper.domain.errors import InvalidInput, TollkeeperError

MAX_URL = 2000
Address: TypeAlias = str
"""A numeric IPv4 or IPv6 address."""
Resolve: TypeAlias = Callable[[str, int], Sequence[Address]]

# Both carry an IPv4 address inside: what they lead to is decided elsewhere, so neither is taken.
_TUNNELS = tuple(
    ipaddress.ip_network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
_PLAIN = re.compile(r"[\x21-\x7e]+")


class AddressForbidden(TollkeeperError):
    """The name leads to an address that is not on the public internet."""

    def __init__(self) -> None:
        super().__init__("the name does not lead to the public internet")


class Unresolvable(TollkeeperError):
    """The name cannot be looked up."""

    transient = True

    def __init__(self) -> None:
        super().__init__("the name cannot be looked up")


def check_url(url: str, field: str, *, allow_loopback: bool = False) -> SplitResult:
    """The parts of a URL that may be called, or `InvalidInput`: https, a host, no user, no fragment, plain ASCII.

    `allow_loopback` takes http, too, for rehearsals on this machine; where it leads is looked at when it is called.
    """
    expected = "a https:// URL without user, password or fragment, of at most 2,000 plain characters"
    schemes = ("https", "http") if allow_loopback else ("https",)
    try:
        parts = urlsplit(url)
        sound = parts.scheme in schemes and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        raise InvalidInput(field, expected) from None
    if not sound or parts.fragment or len(url) > MAX_URL or not _PLAIN.fullmatch(url) or "\\" in url:
        raise InvalidInput(field, expected)
    return parts


def is_public(address: Address) -> bool:
    """Whether an address is one that everybody can reach, and leads nowhere else."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.is_site_local or ip.scope_id is not None or any(ip in tunnel for tunnel in _TUNNELS):
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def is_loopback(address: Address) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def allowed_addresses(
    host: str, port: int, resolve: Resolve, *, encrypted: bool, allow_loopback: bool
) -> Sequence[Address]:
    """What a host's name leads to, if all of it may be called; `AddressForbidden` where any of it may not."""
    found = resolve(host, port)
    if not found:
        raise Unresolvable
    for address in found:
        own = allow_loopback and is_loopback(address)
        if not (own or (encrypted and is_public(address))):
            raise AddressForbidden
    return found


def look_up(host: str, port: int, patience_seconds: float = 5) -> list[Address]:
    """Ask the system's resolver, which has no time-out of its own; what it answers too late is not waited for."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience_seconds)
    return list(dict.fromkeys(str(answer[4][0]) for answer in list(answers)))
