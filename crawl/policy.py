"""How we fetch: `FetchPolicy` shapes the result and is hashed into the stage; `Network` is how we get there."""
from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable

from crawl import netguard, urls
from crawl.consent import WATCHED_AGENTS
from crawl.errors import UsageError
from crawl.permission import PermissionRules

_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s]+|[^\s@(<]+@[^\s@]+\.[^\s@)>]+")
_TOKEN = re.compile(r"[A-Za-z_-]+")                      # RFC 9309, section 2.2.1
_HOST = r"(?:\[[0-9a-fA-F:.]*\]|[^:\[\]]*)"
_CONNECT_TO = re.compile(rf"({_HOST}):(\d*):({_HOST}):(\d*)")
_RESOLVE = re.compile(rf"({_HOST}):(\d+):(\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:.]+)")

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class FetchPolicy:
    """Who we say we are, and what we take: part of the identity of every fetch stage."""

    user_agent: str = "imagebert-lait/0.1"
    product_token: str = "imagebert-lait"     # the name robots.txt knows us by
    contact: str = ""                         # a URL or mail address; joined to the User-Agent

    page_bytes: int = 5 * MIB                 # on the wire; a longer page is cut and marked
    page_decoded_bytes: int = 10 * MIB        # after Content-Encoding
    image_bytes: int = 32 * MIB               # a longer image is `too_large`
    robots_bytes: int = 512 * 1024            # RFC 9309, section 2.5: at least 500 KiB
    max_ratio: int = 200                      # decoded : encoded, after the first MiB
    max_pixels: int = 64_000_000

    connect_timeout_s: float = 10.0
    page_timeout_s: float = 60.0              # over all hops, DNS included, waiting for politeness not
    image_timeout_s: float = 120.0
    robots_timeout_s: float = 30.0
    min_bytes_per_s: int = 1000               # below it for `slow_after_s` is `too_slow`
    slow_after_s: int = 15
    max_redirects: int = 5

    page_delay_s: float = 2.0                 # between requests to one registrable domain
    image_rate_per_s: float = 5.0             # to one registrable domain
    latency_factor: float = 5.0               # pages: wait this many times the last answer's latency
    slow_answer_s: float = 5.0                # until its first byte: a slower answer counts as a sign of load
    max_own_delay_s: float = 30.0             # cap on the delays we choose; a Crawl-delay is never cut
    shard_seconds: float = 1800.0             # what is not fetched by then is `deferred_budget`
    retries: int = 2                          # of a passing fault, inside one shard
    max_retry_after_s: float = 120.0          # a longer Retry-After suspends the host for this shard
    suspend_after: int = 5                    # consecutive URLs of a host that failed

    robots_forbidden: str = "disallow"        # what 401 and 403 for robots.txt mean (the RFC says allow)
    umbrella_agents: tuple[str, ...] = ()     # other agents whose refusal we take for ours, e.g. GPTBot, CCBot
    ai_txt: bool = True                       # ask every authority for /ai.txt too: one more request
    rsl: str = "ignore"                       # ignore or deny: what a licence (RSL) means that nobody here has read
    keep_denied: bool = False                 # put bodies that a header or meta element refuses into quarantine
    robots_reprieve_days: int = 30            # how long an unreachable robots.txt forbids, or its old copy serves

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.product_token):
            raise ValueError(f"product_token {self.product_token!r} is not only letters, '-' and '_' (RFC 9309, 2.2.1)")
        if self.product_token.lower() not in self.user_agent.lower():
            raise ValueError(f"product_token {self.product_token!r} is not in user_agent {self.user_agent!r}: a site "
                             "could not know which rules are ours; make it a part of it")
        if not (self.user_agent + self.contact).isprintable() or not (self.user_agent + self.contact).isascii():
            raise ValueError("user_agent and contact go into a header: printable ASCII only")
        if self.contact and not _CONTACT.search(self.contact):
            raise ValueError(f"contact {self.contact!r} is neither a URL nor a mail address")
        if self.robots_forbidden not in ("allow", "disallow"):
            raise ValueError(f"robots_forbidden is {self.robots_forbidden!r}; it is 'allow' or 'disallow'")
        if self.rsl not in ("ignore", "deny"):
            raise ValueError(f"rsl is {self.rsl!r}; it is 'ignore' or 'deny'")
        if self.robots_bytes < 512_000:
            raise ValueError(f"robots_bytes is {self.robots_bytes}; RFC 9309, section 2.5, asks for at least 512000")
        may_be_zero = ("retries", "max_redirects", "page_delay_s", "latency_factor", "min_bytes_per_s")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            zero_is_fine = field.name in may_be_zero
            if type(value) in (int, float) and not (value >= 0 if zero_is_fine else value > 0):
                raise ValueError(f"{field.name} is {value}; it must be {'at least 0' if zero_is_fine else 'above 0'}")
        for agent in self.umbrella_agents:
            if not _TOKEN.fullmatch(agent):
                raise ValueError(f"umbrella_agents: {agent!r} is no product token")

    @property
    def header(self) -> str:
        """Returns the User-Agent header as it is sent."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent

    @property
    def names_contact(self) -> bool:
        """Returns whether a site that has a question knows whom to ask."""
        return _CONTACT.search(self.header) is not None

    @property
    def rules(self) -> PermissionRules:
        """Returns what is refused beyond what signals say by themselves, while fetching."""
        watched = tuple(agent for agent in self.umbrella_agents if agent.lower() in WATCHED_AGENTS)
        return PermissionRules(umbrella_agents=watched, rsl=self.rsl)

    @property
    def tokens(self) -> frozenset[str]:
        """Returns the lower-case agent names whose refusals bind us."""
        return frozenset(name.lower() for name in (self.product_token, *self.umbrella_agents))


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """How this machine reaches the hosts: changes nothing about what they would answer."""

    connect_to: tuple[str, ...] = ()          # HOST:PORT:HOST2:PORT2 as curl's --connect-to, empty parts match any
    resolve: tuple[str, ...] = ()             # NAME:PORT:ADDR as curl's --resolve
    allow_hosts: tuple[str, ...] = ()         # crawl/netguard.py
    ca_file: str = ""                         # PEM of the authorities to trust instead of the web's
    min_delay_s: float | None = None          # instead of our own delays, for allowed hosts only
    host_rates: tuple[tuple[str, float], ...] = ()    # politeness key, requests a second its operator allowed us
    address_rate_per_s: float | None = None   # of one IP address; None: 10, and no limit at private ones
    max_in_flight: int = 32
    max_buffered_bytes: int = 256 * MIB       # of answers in flight; no request starts above it

    def __post_init__(self) -> None:
        for line in self.connect_to:
            if not _CONNECT_TO.fullmatch(line):
                raise ValueError(f"connect_to: {line!r} is not HOST:PORT:HOST2:PORT2")
        for line in self.resolve:
            found = _RESOLVE.fullmatch(line)
            if not found or not urls.is_ip(found[3].strip("[]")):
                raise ValueError(f"resolve: {line!r} is not NAME:PORT:ADDR with an IP address as ADDR")
        if self.ca_file and not os.path.isfile(self.ca_file):
            raise ValueError(f"ca_file: there is no file {self.ca_file!r}")
        if self.min_delay_s is not None and not 0 <= self.min_delay_s < float("inf"):
            raise ValueError(f"min_delay_s is {self.min_delay_s}; it must be at least 0")
        if self.address_rate_per_s is not None and not 0 < self.address_rate_per_s < float("inf"):
            raise ValueError(f"address_rate_per_s is {self.address_rate_per_s}; it must be above 0")
        if not 0 < self.max_in_flight <= 128:      # select() ends at 1,024 descriptors, and kept connections count too
            raise ValueError(f"max_in_flight is {self.max_in_flight}; it must be from 1 to 128")
        if self.max_buffered_bytes <= 0:
            raise ValueError(f"max_buffered_bytes is {self.max_buffered_bytes}; it must be above 0")
        netguard.AddressPolicy(self.allow_hosts)

    def mapped(self, host: str, port: int) -> tuple[str, int] | None:
        """Returns the host or address and the port that the lines send a URL's host and port to, None without a line.

        >>> Network(connect_to=("::127.0.0.1:8000",)).mapped("a.test", 80)
        ('127.0.0.1', 8000)
        >>> Network(resolve=("a.test:80:127.0.0.1",)).mapped("a.test", 80)
        ('127.0.0.1', 80)
        """
        return _mapped(self.connect_to, self.resolve, host, port)

    def host_rate(self, key: str) -> float | None:
        """Returns the requests a second that the operator of a politeness key's server allowed, None without a word."""
        return _rates(self.host_rates).get(key)

    def addresses(self) -> netguard.AddressPolicy:
        """Returns the dial guard of this network."""
        return netguard.AddressPolicy(self.allow_hosts, self.mapped)


@functools.lru_cache(maxsize=8)
def _rates(host_rates: tuple[tuple[str, float], ...]) -> dict[str, float]:
    return dict(host_rates)


@functools.lru_cache(maxsize=65536)
def _mapped(connect_to: tuple[str, ...], resolve: tuple[str, ...], host: str, port: int) -> tuple[str, int] | None:
    target = (host, port)
    for line in connect_to:
        found = _CONNECT_TO.fullmatch(line)
        assert found is not None
        if found[1].strip("[]").lower() in ("", host) and found[2] in ("", str(port)):
            target = (found[3].strip("[]").lower() or host, int(found[4] or port))
            break
    for line in resolve:
        found = _RESOLVE.fullmatch(line)
        assert found is not None
        if found[1].strip("[]").lower() in ("*", target[0]) and int(found[2]) == target[1]:
            return found[3].strip("[]"), target[1]
    return None if target == (host, port) else target


def may_reach(policy: FetchPolicy, addresses: netguard.AddressPolicy, url: str) -> bool:
    """Returns whether a URL is an allowed host's, or our User-Agent says whom its owner can write to."""
    return policy.names_contact or addresses.is_allowed(url)


def refusal(policy: FetchPolicy, addresses: netguard.AddressPolicy, url: str) -> str:
    """Returns why no request may be made for a URL, whatever its robots.txt says; "" when one may."""
    if urls.normalize(url) != url:
        return "bad_url"
    reason = addresses.refusal(url)
    return reason or ("" if may_reach(policy, addresses, url) else "blocked_no_contact")


def require_contact(policy: FetchPolicy, network: Network, seeds: Iterable[str]) -> None:
    """Raises UsageError for a seed on the open web without a contact to write to, and for a private one not opened."""
    addresses = network.addresses()
    for url in seeds:
        if not may_reach(policy, addresses, url):
            if addresses.refusal(url) == "blocked_address":
                host = f"[{urls.host(url)}]" if ":" in urls.host(url) else urls.host(url)
                raise UsageError(f"{url} is a loopback, private or internal address, which is refused by default; open "
                                 f"it with --allow-host {host}:{urls.port(url)}")
            raise UsageError(f"{url} lies on the open web and the User-Agent {policy.header!r} names nobody to write "
                             "to; give a URL or mail address as --contact, or open the host with --allow-host")
