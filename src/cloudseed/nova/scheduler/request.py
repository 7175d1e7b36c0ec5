"""What a boot asks of a host: the resources and traits for placement, and what the filters look at.

Sources: the flavor's sizes and extra specs (`resources:X`, `trait:X`, `hw:*`, `capabilities:*`), the image's
properties (`trait:X`, `hw_*`), the user's hints.  Hardware that only some hypervisors have is asked as a required
trait, so that placement already leaves out the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudseed.kernel.errors import Invalid
from cloudseed.nova.compute.spec import ServerSpec
from cloudseed.nova.scheduler.errors import NoValidHost
from cloudseed.nova.scheduler.host_query import Query

_TRAIT_OF = {"disk_bus": "COMPUTE_STORAGE_BUS_", "vif_model": "COMPUTE_NET_VIF_MODEL_",
             "video_model": "COMPUTE_GRAPHICS_MODEL_", "firmware_type": "COMPUTE_FIRMWARE_"}
_ARCHITECTURES = {"x86_64": "COMPUTE_ARCH_X86_64", "amd64": "COMPUTE_ARCH_X86_64", "aarch64": "COMPUTE_ARCH_AARCH64",
                  "arm64": "COMPUTE_ARCH_AARCH64", "ppc64le": "COMPUTE_ARCH_PPC64LE", "s390x": "COMPUTE_ARCH_S390X",
                  "riscv64": "COMPUTE_ARCH_RISCV64"}
# extra specs that promise what no driver here does: refused rather than ignored
_UNSUPPORTED = {"hw:cpu_policy": {"dedicated", "mixed"}, "hw:mem_page_size": None, "hw:numa_nodes": None,
                "hw:pci_numa_affinity_policy": None, "hw:cpu_realtime": {"yes", "true", "1"},
                "hw:mem_encryption": {"true", "1", "yes"}, "pci_passthrough:alias": None, "accel:device_profile": None}
# candidates to ask for: a random few of thousands are as good as all of them, and cost a tenth; more only when
# filters leave none of the few
LIMITS: tuple[int | None, ...] = (128, 1024, None)


@dataclass(frozen=True)
class Request:
    """One server's wish for a host."""

    server_id: str
    project_id: str
    user_id: str
    resources: dict[str, int]
    required: frozenset[str] = frozenset()  # traits
    forbidden: frozenset[str] = frozenset()
    zone: str | None = None
    host: str | None = None  # asked for by an admin
    node: str | None = None
    forced: bool = False  # the admin's host, whatever the filters say
    excluded: frozenset[str] = frozenset()  # hosts that failed already
    group: Mapping[str, Any] | None = None  # {"policy", "limit", "hosts": {host: members}}
    same_hosts: frozenset[str] | None = None  # by the hint same_host: where one of the named servers is
    different_hosts: frozenset[str] = frozenset()  # by the hint different_host
    query_of_hosts: Query = field(default_factory=list)  # by the hint query
    near: str | None = None  # by build_near_host_ip: a network of hosts' addresses
    capabilities: Mapping[str, str] = field(default_factory=dict)
    machine_type: str | None = None
    hypervisor_type: str | None = None

    def limits(self) -> tuple[int | None, ...]:
        """How many candidates to ask for, and for how many more when none of those will do.  Who looks for certain
        hosts among all needs all."""
        wants_certain = self.same_hosts is not None or self.query_of_hosts or self.near is not None or (
            self.group is not None and "anti" not in self.group["policy"] and self.group["hosts"])
        return (None,) if wants_certain else LIMITS

    def query(self, limit: int | None, node_id: str | None = None) -> dict[str, str]:
        """Placement's parameters for `limit` allocation candidates, or for what `node_id` alone can give."""
        wanted = ",".join(f"{name}:{amount}" for name, amount in sorted(self.resources.items()))
        traits = sorted(self.required) + sorted(f"!{name}" for name in self.forbidden)
        query = {"resources": wanted}
        if node_id is not None:
            query["in_tree"] = node_id
        elif limit is not None:
            query["limit"] = str(limit)
        if traits:
            query["required"] = ",".join(traits)
        return query

    def amounts(self) -> str:
        """For people: "VCPU 1, MEMORY_MB 256, DISK_GB 1"."""
        return ", ".join(f"{name} {amount}" for name, amount in sorted(self.resources.items()))


def make_request(spec: ServerSpec, destination: Mapping[str, Any] | None, group: Mapping[str, Any] | None,
                 excluded: list[str], hints: Mapping[str, Any] | None = None) -> Request:
    """The request of a boot.  `hints`: the hosts that `same_host` and `different_host` come to, the `query`, and
    the network `near`.

    NoValidHost when the flavor asks what no host here can ever have.
    """
    for name, values in _UNSUPPORTED.items():
        value = spec.extra_specs.get(name)
        if value is not None and (values is None or value.lower() in values):
            raise NoValidHost(reason=f"The flavor's {name}={value} is not supported by this cloud's hypervisors.")
    required, forbidden = _traits(spec)
    wanted = destination or {}
    properties = spec.image_properties
    return Request(
        server_id=spec.id, project_id=spec.project_id, user_id=spec.user_id, resources=_resources(spec),
        required=frozenset(required), forbidden=frozenset(forbidden), zone=spec.availability_zone,
        host=wanted.get("host"), node=wanted.get("node"), forced=bool(wanted.get("forced")),
        excluded=frozenset(excluded), group=group, different_hosts=frozenset((hints or {}).get("different_host", ())),
        same_hosts=frozenset(hints["same_host"]) if hints and "same_host" in hints else None,
        query_of_hosts=list((hints or {}).get("query", ())), near=(hints or {}).get("near"),
        capabilities={name.removeprefix("capabilities:"): value for name, value in spec.extra_specs.items()
                      if name.startswith("capabilities:")},
        machine_type=_text(spec.extra_specs.get("hw:machine_type") or properties.get("hw_machine_type")),
        hypervisor_type=_text(properties.get("img_hv_type") or properties.get("hypervisor_type")))


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _resources(spec: ServerSpec) -> dict[str, int]:
    root = 0 if spec.volume_backed else spec.root_gib
    disk = root + spec.ephemeral_gib + math.ceil(spec.swap_mib / 1024)
    amounts = {"VCPU": spec.vcpus, "MEMORY_MB": spec.memory_mib, "DISK_GB": disk}
    for name, value in spec.extra_specs.items():
        if name.startswith("resources:"):
            try:
                amounts[name.removeprefix("resources:")] = int(value)
            except ValueError:
                raise Invalid(f"The flavor's {name}={value} is no number.") from None
    return {name: amount for name, amount in amounts.items() if amount > 0}


def _traits(spec: ServerSpec) -> tuple[set[str], set[str]]:
    required: set[str] = set()
    forbidden: set[str] = set()
    for source in (spec.extra_specs, spec.image_properties):
        for name, value in source.items():
            if name.startswith("trait:"):
                (required if value == "required" else forbidden).add(name.removeprefix("trait:"))
    for name, prefix in _TRAIT_OF.items():
        value = spec.hardware(name, "")
        if value:
            required.add(prefix + value.upper().replace("-", "_"))
    architecture = spec.image_properties.get("hw_architecture") or spec.image_properties.get("architecture")
    if architecture:
        known = _ARCHITECTURES.get(str(architecture).lower())
        if known is None:
            raise NoValidHost(reason=f"The image's architecture {architecture} is not supported by this cloud's "
                                     "hypervisors.")
        required.add(known)
    return required, forbidden
