"""Whose limits a connection counts to, through proxies that are trusted and others."""

import pytest

from playhead.engine.addresses import PROXIES_MAX, Addresses

TRUSTED = Addresses(["127.0.0.0/8", "::1/128", "10.0.0.0/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "counted"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # nobody that is believed
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "", None),
        ("", "", None),
        ("", "198.51.100.7", "198.51.100.7"),  # a proxy on a Unix socket
        ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first was written by the client
        ("127.0.0.1", "203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "10.1.2.3", None),
        ("127.0.0.1", "203.0.113.9, nonsense", None),
        ("127.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "", "fe80::"),
    ],
)
def test_the_address_that_counts(peer: str, forwarded_for: str, counted: str | None) -> None:
    assert TRUSTED.of(peer, forwarded_for) == counted


def test_all_addresses_of_one_ipv6_network_are_one() -> None:
    one, same, other = (TRUSTED.of(f"2001:db8:0:{text}", "") for text in ("1::1", "1:ffff:ffff:ffff:ffff", "2::1"))
    assert one == same == "2001:db8:0:1::"
    assert other == "2001:db8:0:2::"


def test_nobody_is_trusted_unless_it_is_said() -> None:
    assert Addresses().of("127.0.0.1", "198.51.100.7") == "127.0.0.1"


@pytest.mark.parametrize(("proxies", "counted"), [(PROXIES_MAX - 1, "198.51.100.7"), (PROXIES_MAX, None)])
def test_a_long_row_of_proxies_is_looked_at_from_its_end_so_far(proxies: int, counted: str | None) -> None:
    row = ", ".join(["198.51.100.7", *["10.0.0.1"] * proxies])
    assert TRUSTED.of("127.0.0.1", row) == counted


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        Addresses(["10.0.0.1/8"])
