"""How often one IP address is dialled, whatever names led to it: a thousand small sites may share a machine."""
from __future__ import annotations

from crawl import netguard

DEFAULT_RATE = 10.0                # requests a second to one public address
_MANY = 100_000                    # bookings and addresses held before old ones are forgotten


class AddressPace:
    """Bookings of moments at addresses; one place a shard asks."""

    def __init__(self, rate_per_s: float | None) -> None:
        """Args: rate_per_s: for every address; None for the default at public ones and no limit at others."""
        self._rate = rate_per_s
        self._next: dict[str, float] = {}                    # address -> first moment that nobody has booked
        self._booked: dict[str, tuple[str, float]] = {}      # request -> address and its moment there

    def wait_s(self, request: str, address: str, now: float) -> float:
        """Returns how long a request has to wait before it may dial an address, 0 for not at all.

        What has to wait has a moment booked, and asks again then under the same name.
        """
        rate = self._rate or (DEFAULT_RATE if netguard.is_public_text(address) else 0.0)
        if not rate:
            return 0.0
        where, moment = self._booked.pop(request, ("", 0.0))
        if where != address:
            self._forget(now)
            moment = max(now, self._next.get(address, 0.0))
            self._next[address] = moment + 1 / rate
        if moment > now:
            self._booked[request] = address, moment
        return max(0.0, moment - now)

    def _forget(self, now: float) -> None:
        if len(self._next) > _MANY:
            self._next = {address: moment for address, moment in self._next.items() if moment > now}
        if len(self._booked) > _MANY:
            self._booked = {name: (address, moment) for name, (address, moment) in self._booked.items() if moment > now}
