"""OpenStack's metadata documents of a server, each version as old guests expect it.  Pure.

Source of the format: https://docs.openstack.org/nova/latest/user/metadata.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import Any

import msgspec

from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec

VERSIONS = ("2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22",
            "2018-08-27", "2020-10-14", "2025-04-04")
LATEST = VERSIONS[-1]
PASSWORD_SINCE = "2013-04-04"  # noqa: S105 - a version; random_seed came with it
VENDOR_DATA_SINCE = "2013-10-17"
NETWORK_DATA_SINCE = "2015-10-15"  # project_id too
_DEVICES_SINCE = "2016-06-30"
VENDOR_DATA2_SINCE = "2016-10-06"
_TRUSTED_SINCE = "2018-08-27"
_DEDICATED_CPUS_SINCE = "2020-10-14"


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """One server, with all that its guest may learn.

    `admin_password`: given to the config drive alone, once.  `vendor`: the cloud's own words.
    """

    spec: ServerSpec
    vifs: list[Vif]
    vendor: dict[str, Any] = {}
    admin_password: str | None = None

    @property
    def user_data(self) -> bytes | None:
        """What the server's owner wrote for it, as it was before base64."""
        return decoded(self.spec.user_data) if self.spec.user_data else None

    @property
    def contents(self) -> list[tuple[str, bytes]]:
        """The files that its owner sent along (API up to 2.56): where they go in the guest, and their bytes."""
        return [(entry.get("path", ""), decoded(entry.get("contents", ""))) for entry in self.spec.personality]


def documents(guest: Guest, version: str, random_seed: bytes) -> dict[str, bytes]:
    """The documents of a version, name -> content.  `random_seed`: fresh random bytes for the guest's pool."""
    made = {"meta_data.json": to_json(meta_data(guest, version, random_seed))}
    if guest.user_data is not None:
        made["user_data"] = guest.user_data
    if version >= VENDOR_DATA_SINCE:
        made["vendor_data.json"] = to_json(guest.vendor)
    if version >= NETWORK_DATA_SINCE:
        made["network_data.json"] = to_json(network_data(guest.vifs))
    if version >= VENDOR_DATA2_SINCE:
        made["vendor_data2.json"] = to_json({"static": guest.vendor})
    return made


def listing(guest: Guest, version: str) -> list[str]:
    """What a version's directory names, in upstream's order."""
    names = ["meta_data.json"]
    if guest.user_data is not None:
        names.append("user_data")
    for name, since in (("password", PASSWORD_SINCE), ("vendor_data.json", VENDOR_DATA_SINCE),
                        ("network_data.json", NETWORK_DATA_SINCE), ("vendor_data2.json", VENDOR_DATA2_SINCE)):
        if version >= since:
            names.append(name)
    return names


def meta_data(guest: Guest, version: str, random_seed: bytes) -> dict[str, Any]:
    """meta_data.json."""
    spec = guest.spec
    document: dict[str, Any] = {
        "uuid": spec.id, "name": spec.name, "hostname": spec.hostname, "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone or "nova"}
    if spec.metadata:
        document["meta"] = spec.metadata
    if spec.personality:
        document["files"] = [{"content_path": f"/content/{number:04d}", "path": path}
                             for number, (path, _) in enumerate(guest.contents)]
    if guest.admin_password is not None:
        document["admin_pass"] = guest.admin_password
    if spec.key_data:
        name = spec.key_name or "default"
        kind = "x509" if spec.key_data.startswith("-----BEGIN CERTIFICATE") else "ssh"
        document["public_keys"] = {name: spec.key_data}
        document["keys"] = [{"name": name, "type": kind, "data": spec.key_data}]
    if version >= PASSWORD_SINCE:
        document["random_seed"] = base64.b64encode(random_seed).decode()
    if version >= NETWORK_DATA_SINCE:
        document["project_id"] = spec.project_id
    if version >= _DEVICES_SINCE:
        document["devices"] = _devices(guest, version)
    if version >= _DEDICATED_CPUS_SINCE:
        document["dedicated_cpus"] = []
    return document


def _devices(guest: Guest, version: str) -> list[dict[str, Any]]:
    """The interfaces and disks that their owner has tagged."""
    found: list[dict[str, Any]] = []
    for vif in guest.vifs:
        if vif.get("tag"):
            nic = {"type": "nic", "mac": vif["address"], "bus": "none", "address": "none", "tags": [vif["tag"]]}
            found.append({**nic, **({"vf_trusted": False} if version >= _TRUSTED_SINCE else {})})
    for device in guest.spec.block_devices:
        if device.tag:
            known = {"serial": device.volume_id, "path": device.device_name}
            found.append({"type": "disk", **{name: value for name, value in known.items() if value}, "bus": "none",
                          "address": "none", "tags": [device.tag]})
    return found


def network_data(vifs: list[Vif]) -> dict[str, Any]:
    """network_data.json: links, networks and DNS servers."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, Any]] = []
    for vif in vifs:
        subnets = vif["network"]["subnets"]
        if not subnets:
            continue
        link = vif.get("devname") or f"tap{vif['id'][:11]}"
        # where DHCP is, it tells the MTU
        mtu = None if any(s["meta"].get("dhcp_server") for s in subnets) else vif["network"]["meta"].get("mtu")
        links.append({"id": link, "vif_id": vif["id"], "type": vif["type"], "mtu": mtu,
                      "ethernet_mac_address": vif["address"]})
        for subnet in subnets:
            for entry in _addresses(subnet):
                networks.append({"id": f"network{len(networks)}", "link": link,
                                 "network_id": vif["network"]["id"], **entry})
            services += [service for service in _dns(subnet) if service not in services]
    return {"links": links, "networks": networks, "services": services}


def _addresses(subnet: dict[str, Any]) -> list[dict[str, Any]]:
    """How a guest gets its addresses of a subnet: by asking (one entry), or each written down."""
    cidr = ipaddress.ip_network(subnet["cidr"])
    mode = subnet["meta"].get("ipv6_address_mode")
    if mode is None and (subnet["meta"].get("dhcp_server") or subnet["meta"].get("enable_dhcp")):
        return [{"type": f"ipv{cidr.version}_dhcp"}]
    routes = []
    if gateway := subnet["gateway"].get("address"):
        any_address = "0.0.0.0" if cidr.version == 4 else "::"  # noqa: S104 - a route, nothing is bound
        routes.append({"network": any_address, "netmask": any_address, "gateway": gateway})
    routes += [{"network": route["cidr"].partition("/")[0],
                "netmask": str(ipaddress.ip_network(route["cidr"]).netmask),
                "gateway": route["gateway"]["address"]} for route in subnet["routes"]]
    return [{"type": f"ipv{cidr.version}{f'_{mode}' if mode else ''}", "ip_address": ip["address"],
             "netmask": str(cidr.netmask), "routes": routes, "services": _dns(subnet)} for ip in subnet["ips"]]


def _dns(subnet: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "dns", "address": server["address"]} for server in subnet["dns"]]


def decoded(text: str) -> bytes:
    """The bytes behind base64; text that is none stands for itself."""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text.encode()


def to_json(value: Any) -> bytes:
    return msgspec.json.encode(value)
