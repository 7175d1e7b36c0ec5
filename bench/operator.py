"""What an operator does about a host that lost its power: call it down, and have its servers built anew elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bench.load import COMPUTE, Customer, Outcome
from cloudseed.cli.api import ApiError


class Operator:
    """As patient as `customer`, with an admin's rights; what is refused is counted in `outcome`."""

    def __init__(self, customer: Customer, outcome: Outcome) -> None:
        self._customer = customer
        self._outcome = outcome

    def evacuate(self, host: str) -> Callable[[], None]:
        """Order it of all servers of a host that has no power.  Returns what takes its being down back; the host may
        come before all are elsewhere."""
        self._call_down(host, down=True)
        for server in self._customer.ask("GET", f"{COMPUTE}/servers?all_tenants=1&host={host}")["servers"]:
            try:
                self._customer.ask("POST", f"{COMPUTE}/servers/{server['id']}/action", {"evacuate": {}})
            except ApiError as exc:
                self._outcome.count("evacuate", str(exc).partition(": ")[2])
        return lambda: self._call_down(host, down=False)

    def evacuated(self) -> Counter[str]:
        """All evacuations that were ordered, by what became of them."""
        found = self._customer.ask("GET", f"{COMPUTE}/os-migrations?migration_type=evacuation")["migrations"]
        return Counter(migration["status"] for migration in found)

    def _call_down(self, host: str, *, down: bool) -> None:
        (service,) = self._customer.ask("GET", f"{COMPUTE}/os-services?binary=nova-compute&host={host}")["services"]
        self._customer.ask("PUT", f"{COMPUTE}/os-services/{service['id']}", {"forced_down": down})
