"""Servers as clients see them: the newest shape, and what each microversion changed, newest first."""

from __future__ import annotations

import datetime
import hashlib
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.http.microversion import Adapter, Adapters
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api.links import links_of
from cloudseed.nova.server_images import BASE
from cloudseed.nova.server_states import api_status
from cloudseed.nova.servers import Extras, Server, target

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_EXTENDED = ("OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:hypervisor_hostname")
_EXTENDED_2_3 = ("reservation_id", "launch_index", "hostname", "kernel_id", "ramdisk_id", "root_device_name",
                 "user_data")
_WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})


def _without(*names: str) -> Any:
    def lower(body: dict[str, Any]) -> None:
        for name in names:
            body.pop(name, None)

    return lower


def _without_image_properties(body: dict[str, Any]) -> None:
    if isinstance(body["image"], dict):
        body["image"].pop("properties", None)


def _hostname_for_admins(body: dict[str, Any]) -> None:
    if _EXTENDED[0] not in body:
        body.pop("OS-EXT-SRV-ATTR:hostname", None)


def _with_flavor_link(body: dict[str, Any]) -> None:
    body["flavor"] = body["_flavor_link"]


def _volumes_by_id(body: dict[str, Any]) -> None:
    for volume in body["os-extended-volumes:volumes_attached"]:
        volume.pop("delete_on_termination", None)


def _without_newer_attributes(body: dict[str, Any]) -> None:
    for name in _EXTENDED_2_3:
        body.pop(f"OS-EXT-SRV-ATTR:{name}", None)
    _volumes_by_id(body)


DETAIL = Adapters(
    Adapter((2, 3), response=_without_newer_attributes),
    Adapter((2, 9), response=_without("locked")),
    Adapter((2, 16), response=_without("host_status")),
    Adapter((2, 19), response=_without("description")),
    Adapter((2, 26), response=_without("tags")),
    Adapter((2, 47), response=_with_flavor_link),
    Adapter((2, 63), response=_without("trusted_image_certificates")),
    Adapter((2, 71), response=_without("server_groups")),
    Adapter((2, 73), response=_without("locked_reason")),
    Adapter((2, 90), response=_hostname_for_admins),
    Adapter((2, 96), response=_without("pinned_availability_zone")),
    Adapter((2, 98), response=_without_image_properties),
    Adapter((2, 100), response=_without("scheduler_hints")))

# before 2.75, PUT answered without what the extensions of old added to GET
_UPDATE_KEYS = frozenset({
    "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated",
    "addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "fault", "locked", "description",
    "tags", "trusted_image_certificates", "server_groups", "locked_reason"})


def summary(req: Request, row: Server) -> dict[str, Any]:
    """A server in a plain list."""
    return {"id": row.id, "name": row.name, "links": links_of(req, "servers", row.id)}


class View:
    """Makes views for one request: what the caller may see is asked of policy once for its own project."""

    def __init__(self, nova: Nova, req: Request, extras: Extras) -> None:
        self._nova = nova
        self._req = req
        self._extras = extras
        self._allowed: dict[tuple[str, str], bool] = {}

    def _may(self, rule: str, row: Server) -> bool:
        key = (rule, row.project_id)
        known = self._allowed.get(key)
        if known is None:
            known = self._allowed[key] = self._nova.policy.check(rule, self._req.ctx.identity, target(row))
        return known

    def detail(self, row: Server, *, groups: bool = False, update: bool = False) -> dict[str, Any]:
        """A server with all that this caller may see, in the request's version."""
        extras, req = self._extras, self._req
        status = api_status(row.vm_state, row.task_state)
        body: dict[str, Any] = {
            "id": row.id, "name": row.name, "status": status, "tenant_id": row.project_id, "user_id": row.user_id,
            "metadata": row.metadata, "hostId": host_id(row.project_id, row.host), "image": self._image(row),
            "flavor": self._flavor(row), "created": iso(row.created_at), "updated": iso(row.updated_at),
            "addresses": addresses(row.network_info), "accessIPv4": row.access_ip_v4 or "",
            "accessIPv6": row.access_ip_v6 or "", "links": links_of(req, "servers", row.id),
            "OS-DCF:diskConfig": row.system_metadata.get("disk_config", "MANUAL"),
            "OS-EXT-AZ:availability_zone": extras.zone_of(row), "config_drive": "True" if row.config_drive else "",
            "key_name": row.key_name, "OS-SRV-USG:launched_at": micro(row.launched_at),
            "OS-SRV-USG:terminated_at": micro(row.terminated_at), "OS-EXT-STS:task_state": row.task_state,
            "OS-EXT-STS:vm_state": row.vm_state, "OS-EXT-STS:power_state": row.power_state,
            "os-extended-volumes:volumes_attached": volumes_attached(row.block_devices), "locked": bool(row.locked_by),
            "locked_reason": row.locked_reason, "description": row.description, "tags": extras.tags.get(row.id, []),
            "trusted_image_certificates": row.trusted_image_certificates,
            "OS-EXT-SRV-ATTR:hostname": row.hostname, "pinned_availability_zone": row.availability_zone,
            "scheduler_hints": row.scheduler_hints,
            "_flavor_link": {"id": row.flavor_id, "links": links_of(req, "flavors", row.flavor_id)[1:]}}
        if status in _WITH_PROGRESS:
            body["progress"] = row.progress
        fault = extras.faults.get(row.id)
        if fault is not None and status in ("ERROR", "DELETED"):
            body["fault"] = self._fault(fault)
        if row.id in extras.security_groups:
            body["security_groups"] = extras.security_groups[row.id]
        if groups:
            body["server_groups"] = extras.groups.get(row.id, [])
        if self._may("os_compute_api:os-extended-server-attributes", row):
            self._add_extended(body, row)
        self._add_host_status(body, row)
        DETAIL.lower(req.microversion, body)
        if update and req.microversion < (2, 75):
            for ip in (ip for label in body["addresses"].values() for ip in label):
                del ip["OS-EXT-IPS:type"], ip["OS-EXT-IPS-MAC:mac_addr"]
            return {name: value for name, value in body.items() if name in _UPDATE_KEYS}
        del body["_flavor_link"]
        return body

    def _add_extended(self, body: dict[str, Any], row: Server) -> None:
        body |= {
            "OS-EXT-SRV-ATTR:host": row.host, "OS-EXT-SRV-ATTR:hypervisor_hostname": row.node,
            "OS-EXT-SRV-ATTR:instance_name": f"instance-{row.id[:8]}",
            "OS-EXT-SRV-ATTR:reservation_id": row.reservation_id, "OS-EXT-SRV-ATTR:launch_index": row.launch_index,
            "OS-EXT-SRV-ATTR:kernel_id": "", "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": row.root_device_name, "OS-EXT-SRV-ATTR:user_data": row.user_data}

    def _add_host_status(self, body: dict[str, Any], row: Server) -> None:
        status = self._extras.host_status.get(row.host or "", "UNKNOWN") if row.host else ""
        if self._may("os_compute_api:servers:show:host_status", row) or (
                status == "UNKNOWN" and self._may("os_compute_api:servers:show:host_status:unknown-only", row)):
            body["host_status"] = status

    def _image(self, row: Server) -> Any:
        if not row.image_id:
            return ""
        return {"id": row.image_id, "links": links_of(self._req, "images", row.image_id)[1:],
                "properties": {name: value for name, value in row.image_properties.items() if name not in BASE}}

    def _flavor(self, row: Server) -> dict[str, Any]:
        flavor = row.flavor
        body = {"vcpus": flavor["vcpus"], "ram": flavor["ram"], "disk": flavor["disk"],
                "ephemeral": flavor["ephemeral"], "swap": flavor["swap"], "original_name": flavor["name"]}
        if self._may("os_compute_api:servers:show:flavor-extra-specs", row):
            body["extra_specs"] = flavor.get("extra_specs", {})
        return body

    def _fault(self, fault: Any) -> dict[str, Any]:
        body = {"code": fault.code, "created": iso(fault.created_at), "message": fault.message}
        # details of our own failures are an operator's business
        if fault.details and (fault.code != 500 or self._nova.policy.check("context_is_admin",
                                                                          self._req.ctx.identity)):
            body["details"] = fault.details
        return body


def host_id(project_id: str, host: str | None) -> str:
    """A host's name as a project may see it: same host, same digest, and no way back."""
    return hashlib.sha224((project_id + host).encode()).hexdigest() if host else ""


def addresses(network_info: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Addresses by network name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for vif in network_info:
        label = found.setdefault(vif["network"]["label"], [])
        for subnet in vif["network"]["subnets"]:
            for ip in subnet["ips"]:
                for one in (ip, *ip.get("floating_ips", ())):
                    label.append({"version": one["version"], "addr": one["address"], "OS-EXT-IPS:type": one["type"],
                                  "OS-EXT-IPS-MAC:mac_addr": vif["address"]})
    return found


def volumes_attached(devices: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The volumes of a server, from its picture of block devices."""
    return [{"id": device["volume_id"], "delete_on_termination": device.get("delete_on_termination", False)}
            for device in devices or () if device.get("volume_id")]


def iso(moment: datetime.datetime | None) -> str | None:
    """2026-01-31T12:00:00Z"""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def micro(moment: datetime.datetime | None) -> str | None:
    """2026-01-31T12:00:00.000000, in UTC"""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else None
