"""The host itself: what it has, what exists on it under our name, and the commands about that."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Command, Record


class HostFacts(Record, frozen=True, kw_only=True):
    """What this host has.  `memory_mib` total and available; disk of the state directory, in GiB."""

    hostname: str
    kernel: str
    architecture: str
    cpus: int
    cpu_model: str
    memory_mib: int
    memory_available_mib: int
    disk_total_gib: float
    disk_free_gib: float
    qemu_version: str | None  # null: qemu is not installed
    accel: Literal["kvm", "tcg"]
    accel_reason: str
    boot_id: str
    name: str
    network_errors: dict[str, str] = {}  # why networks (by id) could not be wired when that was tried last
    problems: list[str] = []  # what is missing to run machines and networks, each with its remedy


class InventoryReport(Record, frozen=True, kw_only=True):
    """All that exists on this host and carries our name, read from the system and not from a wish."""

    namespaces: list[str]
    networks: dict[str, str]  # namespace -> network id, as far as known
    taps: dict[str, list[str]]  # namespace -> tap names
    dnsmasq_pids: dict[str, int]  # network id -> pid
    machine_pids: dict[str, int]  # server id -> pid
    machines: list[str]  # server ids that have a directory
    images: list[str]
    files: list[str]  # every file below machines/, images/, outgoing/, dhcp/, routers/, relative to the state directory
    routers: dict[str, str] = {}  # a router's namespace -> router id, as far as known, else ""
    router_links: dict[str, list[str]] = {}  # a router's namespace -> its links
    radvd_pids: dict[str, int] = {}  # router id -> pid
    host_links: list[str] = []  # ours outside our namespaces: the host's ends of external networks
    host_rules: bool = False  # the host's own nftables table of ours is there
    tunnels: dict[str, int] = {}  # namespace -> segmentation id of its link to other hosts
    underlay_rules: bool = False  # our table that says from whom the host takes tunnel packets is there
    volumes: list[str] = []  # volume ids
    snapshots: list[str] = []  # of volumes
    packs: list[str] = []  # volumes on their way to be images
    exports: dict[str, str] = {}  # attachment id -> volume id, as they shall be
    exporter_pids: dict[str, int] = {}  # storage daemon (v<volume id>-rw or -ro) -> pid
    strays: list[str] = []  # processes of ours that no spec file explains: "pid command"


class GetFacts(Command, frozen=True, kw_only=True):
    """-> HostFacts"""


class GetInventory(Command, frozen=True, kw_only=True):
    """-> InventoryReport"""


class Purge(Command, frozen=True, kw_only=True):
    """Remove every machine, namespace, process and file that carries our name. -> None"""


class Watch(Command, frozen=True, kw_only=True):
    """From now on this connection also receives `Event` frames. -> None"""
