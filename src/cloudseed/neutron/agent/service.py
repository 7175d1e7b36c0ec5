"""Assembles this host's agents: one loop for all of them.

Real ones where a host process is, simulating ones for the fake driver, else none.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.neutron.agent.reconciler import DHCP_PART, L2_PART, L3_PART, Reconciler

log = logging.getLogger(__name__)
NAME = "neutron-agents"
PARTS = (L2_PART, DHCP_PART, L3_PART)


def build(env: Environment, parts: Collection[str] = PARTS) -> Service:
    """Those of the agents that are in `parts`; neutron-l2-agent always is, as the others stand on it."""
    driver = env.config.driver
    real = env.host is not None and getattr(env.host, "real", True)
    simulate = driver == "fake" or (driver == "auto" and not real)
    if env.host is None and not simulate:
        return Service(NAME)
    # thousands of simulated ports: who is not up yet costs less than what everybody wishes
    wires = None if simulate else env.host
    agent = Reconciler(env.config.host, env.bus(L2_PART), env.bus(DHCP_PART) if DHCP_PART in parts else None,
                       env.bus(L3_PART) if L3_PART in parts else None, wires, simulate, env.config.underlay_address,
                       env.config.report_interval_s)

    async def start() -> None:
        agent.serve()
        try:
            await agent.report_state(Context())  # known before the first port is bound
        except CloudseedError as exc:
            log.warning("the agents could not report in yet: %s", exc.message)

    return Service(NAME, loops=[agent.loop], start=start, handle=agent)
