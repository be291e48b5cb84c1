"""Whose limits a connection counts to: the peer's address, or the one that a trusted proxy tells.

    peer is no trusted proxy          its address, whatever `X-Forwarded-For` says
    peer is one                       the last address in `X-Forwarded-For` that is none; without any: nobody's

An IPv6 network of 64 bits is one address: whoever has one has all of them.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

IPV6_PREFIX_BITS = 64
PROXIES_MAX = 8
"""How many addresses of `X-Forwarded-For` are looked at, from its end."""
CACHED = 4_096

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """`trusted`: networks of proxies, as in 10.0.0.0/8. Raises ValueError for what is none."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in trusted)

    def of(self, peer: str, forwarded_for: str) -> str | None:
        """What to count by; None: nobody says who it is. `peer`: "" for a socket without an address."""
        address = read(peer)
        if address is not None and not self._is_trusted(address):
            return key(address)
        for text in reversed(forwarded_for.rsplit(",", PROXIES_MAX)[-PROXIES_MAX:]):
            found = read(text)
            if found is None or not self._is_trusted(found):
                return None if found is None else key(found)
        return None

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=CACHED)
def read(text: str) -> Address | None:
    """An address, with or without a port; one of IPv4 that is written as IPv6 is one of IPv4. None: there is none."""
    text = text.strip().partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


@lru_cache(maxsize=CACHED)
def key(address: Address) -> str:
    """The address, of IPv6 its network."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False).network_address)
