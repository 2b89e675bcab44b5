"""Which addresses may be dialled: checked on the address itself, at the moment of the dial, on every hop.

Checking names or strings is useless: `0x7f.1`, a DNS answer and a redirect all end at 127.0.0.1 (reference, finding 6).
The table is our own, because what `ipaddress` calls global depends on the version of Python and leaves out much.
"""
from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator

from crawl import urls

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = frozenset({80, 443, 8080, 8443})

# IANA special-purpose registries (RFC 6890 and its updates), multicast, and the clouds' own service addresses.
_NEVER_PUBLIC: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "168.63.129.16/32", "100.100.100.200/32",
    "::/127", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "5f00::/16",
    "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")))
# What an allowed host may be dialled at besides the public net: this machine and private networks, and never
# link-local addresses, where the clouds keep their credentials.
_PRIVATE: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (
    "10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")))
# Names that resolve inside a machine, a cluster or a cloud.
_INTERNAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "metadata.google.internal")

_V4_IN_LAST_32 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")

_ALLOW = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|(\*\.)?[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}|\*))?")


def is_public(address: Address) -> bool:
    """Returns whether an address and every IPv4 address wrapped in it lie on the public internet.

    >>> is_public(ipaddress.ip_address("64:ff9b::169.254.169.254")), is_public(ipaddress.ip_address("93.184.216.34"))
    (False, True)
    """
    return all(form.is_global and not _within(form, _NEVER_PUBLIC) for form in _forms(address))


def is_public_text(address: str) -> bool:
    """Returns whether an address as it is written is public; False for what is none."""
    return _seen(address)[1]


@functools.lru_cache(maxsize=65536)
def _seen(address: str) -> tuple[Address | None, bool]:
    """Returns the parsed address, None for what is none, and whether it is public."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None, False
    return parsed, is_public(parsed)


def _forms(address: Address) -> Iterator[Address]:
    """Yields the address, and the IPv4 addresses that a transition form of IPv6 would lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    number = int(address)
    wrapped: list[int] = []
    if any(address in net for net in _V4_IN_LAST_32) or address in _LOCAL_NAT64:
        wrapped.append(number & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:                                  # RFC 6052, prefix of 48 bits: octet 8 is zero
        wrapped.append((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
    if address in _SIX_TO_FOUR:
        wrapped.append(number >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        wrapped += [number >> 64 & 0xFFFFFFFF, ~number & 0xFFFFFFFF]     # server, and client with its bits inverted
    if number >> 32 & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):            # ISATAP
        wrapped.append(number & 0xFFFFFFFF)
    for value in wrapped:
        yield ipaddress.IPv4Address(value)
    if address.ipv4_mapped is None:              # a mapped one is the IPv4 address; versions of Python differ
        yield address


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == net.version and address in net for net in networks)


@dataclasses.dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be dialled for which host and port of a URL.

    An entry of `allow_hosts` is `HOST`, `HOST:PORT` or `HOST:*`; HOST is a name, `*.name` (any name below it), an IPv4
    address or an IPv6 address in brackets.  Without a port the usual ones are opened: 80, 443, 8080 and 8443.
    """

    allow_hosts: tuple[str, ...] = ()
    # Where the operator's own lines send a host and port; None where DNS decides.
    mapped: Callable[[str, int], tuple[str, int] | None] = lambda host, port: None

    def __post_init__(self) -> None:
        _entries(self.allow_hosts)

    def is_allowed(self, url: str) -> bool:
        """Returns whether the operator opened a URL's host and port, by name or by the address they mapped it to."""
        return _is_allowed(self, urls.host(url), urls.port(url))

    def refusal(self, url: str) -> str:
        """Returns why a URL is not to be dialled at all, "" when its address may decide: before any DNS."""
        if self.is_allowed(url):
            return ""
        host = urls.host(url)
        if urls.is_ip(host):
            if not is_public(ipaddress.ip_address(host)):
                return "blocked_address"
        elif "." not in host or any(host == name or host.endswith("." + name) for name in _INTERNAL_NAMES):
            return "blocked_address"
        return "" if urls.port(url) in DEFAULT_PORTS else "blocked_egress"

    def may_dial(self, url: str, address: str) -> bool:
        """Returns whether the socket for a URL may be opened to this IP address."""
        parsed, public = _seen(address.partition("%")[0])
        if public or parsed is None:
            return public
        if not self.is_allowed(url):
            return False
        named = (urls.host(url), *(self.mapped(urls.host(url), urls.port(url)) or ())[:1])
        return _within(parsed, _PRIVATE) or address in named

    def _opened(self, host: str, port: int) -> bool:
        return any(port in ports or not ports
                   for name, ports in _entries(self.allow_hosts)
                   if (host.endswith(name[1:]) if name.startswith("*.") else _same_host(host, name)))


@functools.lru_cache(maxsize=65536)
def _is_allowed(policy: AddressPolicy, host: str, port: int) -> bool:
    target = policy.mapped(host, port)
    return policy._opened(host, port) or target is not None and policy._opened(*target)


@functools.lru_cache(maxsize=16)
def _entries(allow_hosts: tuple[str, ...]) -> tuple[tuple[str, frozenset[int]], ...]:
    """Returns host and ports of each entry; no ports stands for all of them."""
    entries = []
    for entry in allow_hosts:
        found = _ALLOW.fullmatch(entry)
        if not found or (found["port"] or "*").isdigit() and not 0 < int(found["port"]) < 65536:
            raise ValueError(f"allow_hosts: {entry!r} is no HOST[:PORT]; write 127.0.0.1:18080, name, *.name:8080 "
                             "or [::1]:80")
        if found["port"] is None:
            ports = DEFAULT_PORTS
        else:
            ports = frozenset() if found["port"] == "*" else frozenset({int(found["port"])})
        entries.append((found["host"].strip("[]").lower(), ports))
    return tuple(entries)


def _same_host(host: str, name: str) -> bool:
    if urls.is_ip(host) and urls.is_ip(name):
        return ipaddress.ip_address(host) == ipaddress.ip_address(name)
    return host == name
