"""Which addresses of the Internet a stranger may send us to: public ones, and no others.

What is not known to be public is refused. Names of ranges are those of IANA's special-purpose registries
(RFC 6890 and its updates).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED_V4: Final = {
    IPv4Network("0.0.0.0/8"): "this host",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "shared by a carrier (CGNAT)",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("168.63.129.16/32"): "of a cloud's own services",
    IPv4Network("169.254.0.0/16"): "link-local, where clouds keep their metadata",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "of protocols",
    IPv4Network("192.0.2.0/24"): "for documentation",
    IPv4Network("192.88.99.0/24"): "a 6to4 relay",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("198.18.0.0/15"): "for benchmarks",
    IPv4Network("198.51.100.0/24"): "for documentation",
    IPv4Network("203.0.113.0/24"): "for documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
_UNICAST_V6: Final = IPv6Network("2000::/3")
"""All that is given out to networks. IPv4-mapped and NAT64 addresses, loopback, link-local, unique local and
multicast ones lie outside."""
_REFUSED_V6: Final = {
    IPv6Network("2001::/23"): "of protocols (Teredo, ORCHID, benchmarks)",
    IPv6Network("2001:db8::/32"): "for documentation",
    IPv6Network("2002::/16"): "6to4: an IPv4 address in disguise",
    IPv6Network("3fff::/20"): "for documentation",
}


def why_refused(address: Address) -> str | None:
    """Return what an address is that nobody outside may send us to; None for a public one."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _REFUSED_V4.items() if address in network), None)
    if address.scope_id is not None or address not in _UNICAST_V6:
        return "not public"
    return next((what for network, what in _REFUSED_V6.items() if address in network), None)


class Exceptions:
    """Addresses, networks and host names that are allowed all the same, and at any port."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Allow each: an address, a network (`10.1.0.0/16`), or a host by its whole name."""
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for name in names:
            try:
                self._networks.append(ip_network(name, strict=False))
            except ValueError:
                self._hosts.add(name.lower())

    def allow(self, host: str, address: Address) -> bool:
        """Whether a host that has been resolved to this address is an exception."""
        return host in self._hosts or any(
            address in network for network in self._networks if network.version == address.version
        )
