"""Where a URL that somebody else named may lead."""

from __future__ import annotations

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.notify.addresses import (
    AddressForbidden,
    Unresolvable,
    allowed_addresses,
    check_url,
    is_public,
)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888"]
)
def test_an_address_that_everybody_can_reach_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # where clouds keep their credentials
        "100.64.0.1",  # carrier's own; Python does not call it private
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "64:ff9b::7f00:1",  # 127.0.0.1 behind NAT64; Python calls it global
        "64:ff9b:1::1",
        "2002:7f00:1::",  # 127.0.0.1 behind 6to4
        "2001:0:7f00:1::",  # Teredo
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "example.com",
        "0x7f.1",
        "",
    ],
)
def test_an_address_that_leads_inside_or_nowhere_is_not(address: str) -> None:
    assert not is_public(address)


def allowed(*found: str, encrypted: bool = True, allow_loopback: bool = False) -> object:
    return allowed_addresses("name", 443, lambda host, port: found, encrypted=encrypted, allow_loopback=allow_loopback)


def test_a_name_is_taken_only_if_all_that_it_leads_to_is_public() -> None:
    assert allowed("8.8.8.8", "2001:4860:4860::8888") == ("8.8.8.8", "2001:4860:4860::8888")
    with pytest.raises(AddressForbidden):
        allowed("8.8.8.8", "127.0.0.1")
    with pytest.raises(Unresolvable):
        allowed()


def test_this_machine_is_taken_only_where_that_is_allowed_and_nothing_public_without_encryption() -> None:
    assert allowed("127.0.0.1", encrypted=False, allow_loopback=True) == ("127.0.0.1",)
    for found in ("8.8.8.8", "10.0.0.1"):
        with pytest.raises(AddressForbidden):
            allowed(found, encrypted=False, allow_loopback=True)
    with pytest.raises(AddressForbidden):
        allowed("127.0.0.1")


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/in?a=b", "https://[2606:4700::1]/"])
def test_a_url_over_tls_to_a_host_is_taken(url: str) -> None:
    assert check_url(url, "url").geturl() == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "//example.com/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://[::1/",
        "https://example.com/#fragment",
        "https://example.com/\r\nHost: evil",
        "https://example.com/ x",
        "https://example.com\\@evil.example/",
        "https://exämple.com/",
        "https://example.com/" + "x" * 2000,
        "",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="url: expected a https"):
        check_url(url, "url")


def test_a_url_without_encryption_is_taken_only_for_rehearsals() -> None:
    assert check_url("http://127.0.0.1:8000/", "url", allow_loopback=True).port == 8000
