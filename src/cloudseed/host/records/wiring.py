"""The one command about the whole wiring of a host, networks and routers, and its outcome."""

from __future__ import annotations

from cloudseed.host.records.base import Command, Record
from cloudseed.host.records.networks import NetworkStatus, NetworkWish, PortStatus
from cloudseed.host.records.routers import RouterStatus, RouterWish


class ApplyResult(Record, frozen=True, kw_only=True):
    """The outcome of `ApplyNetworks`: a status for each local port, network and router, and what was removed."""

    ports: list[PortStatus]
    networks: list[NetworkStatus]
    routers: list[RouterStatus] = []
    removed_namespaces: list[str] = []


class ApplyNetworks(Command, frozen=True, kw_only=True):
    """Make these networks and routers so; with `full`, our other namespaces are removed. -> ApplyResult"""

    networks: list[NetworkWish]
    routers: list[RouterWish] = []
    full: bool
