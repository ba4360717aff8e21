"""Whoever sends us somewhere sends us to a public address, or nowhere."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.media.addresses import Exceptions, why_refused

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "99.86.0.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2001:4860:4860::8888",
]
INSIDE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata at Alibaba
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure's own services
    "169.254.169.254",  # metadata at most clouds
    "169.254.170.2",  # a container's credentials
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # metadata at Oracle
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata at AWS
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
STRICTER = [IPv4Network("192.88.99.0/24"), IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24")]
"""Public by the registries, and refused by us."""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address: str) -> None:
    assert why_refused(ip_address(address)) is None


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_any_network_may_not(address: str) -> None:
    assert why_refused(ip_address(address))


@given(st.ip_addresses())
def test_what_may_be_asked_is_global_and_one_host(address: IPv4Address | IPv6Address) -> None:
    if why_refused(address) is None:
        assert address.is_global
        assert not (address.is_multicast or address.is_private or address.is_loopback or address.is_link_local)
        assert not (address.is_reserved or address.is_unspecified)


@given(st.ip_addresses(v=4))
def test_no_public_ipv4_address_is_refused_but_a_few_on_purpose(address: IPv4Address) -> None:
    if address.is_global and not address.is_multicast and not any(address in one for one in STRICTER):
        assert why_refused(address) is None


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_comes_in_disguise(address: IPv4Address) -> None:
    number = int(address)
    for disguised in (
        IPv6Address(0xFFFF << 32 | number),  # IPv4-mapped
        IPv6Address(number),  # IPv4-compatible
        IPv6Address(0x64FF9B << 96 | number),  # NAT64
        IPv6Address(0x64FF9B0001 << 80 | number),  # NAT64 of one's own
        IPv6Address(0x2002 << 112 | number << 80),  # 6to4
        IPv6Address(0x20010000 << 96 | number ^ 0xFFFFFFFF),  # Teredo
        IPv6Address(0x20010000 << 96 | number << 64),  # Teredo, the server's
    ):
        assert why_refused(disguised), disguised


def test_an_exception_is_an_address_a_network_or_a_whole_name() -> None:
    exceptions = Exceptions(("127.0.0.1", "10.1.2.3/16", "Files.internal", "fd00::/8"))

    assert exceptions.allow("a", IPv4Address("127.0.0.1"))
    assert exceptions.allow("a", IPv4Address("10.1.9.9"))
    assert exceptions.allow("a", IPv6Address("fd00::1"))
    assert exceptions.allow("files.internal", IPv4Address("10.2.0.1"))
    assert not exceptions.allow("a", IPv4Address("127.0.0.2"))
    assert not exceptions.allow("a.files.internal", IPv4Address("10.2.0.1"))
    assert not exceptions.allow("a", IPv6Address("fe80::1"))
