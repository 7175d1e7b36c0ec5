"""What a guest reads about itself, in OpenStack's metadata format: the files of its config drive.  Pure.

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

VERSIONS = ("2012-08-10", "2013-04-04", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
            "2020-10-14", "latest")


def config_drive(spec: ServerSpec, vifs: list[Vif], random_seed: bytes) -> dict[str, bytes]:
    """Path -> content.  `random_seed`: fresh random bytes for the guest's pool."""
    meta = meta_data(spec, random_seed)
    files: dict[str, bytes] = {}
    for number, entry in enumerate(spec.personality):
        name = f"content/{number:04d}"
        meta.setdefault("files", []).append({"content_path": f"/{name}", "path": entry.get("path", "")})
        files[f"openstack/{name}"] = _decoded(entry.get("contents", ""))
    documents = {"meta_data.json": _json(meta), "network_data.json": _json(network_data(vifs)),
                 "vendor_data.json": b"{}", "vendor_data2.json": b"{}"}
    if spec.user_data:
        documents["user_data"] = _decoded(spec.user_data)
    for version in VERSIONS:
        for name, content in documents.items():
            files[f"openstack/{version}/{name}"] = content
    files["ec2/latest/meta-data.json"] = _json(ec2_meta_data(spec, vifs))
    if spec.user_data:
        files["ec2/latest/user-data"] = documents["user_data"]
    return files


def meta_data(spec: ServerSpec, random_seed: bytes) -> dict[str, Any]:
    """meta_data.json."""
    document: dict[str, Any] = {
        "uuid": spec.id, "name": spec.name, "hostname": spec.hostname, "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone or "nova", "project_id": spec.project_id,
        "meta": spec.metadata, "random_seed": base64.b64encode(random_seed).decode(), "devices": [],
        "dedicated_cpus": []}
    if spec.key_data:
        document["public_keys"] = {spec.key_name or "default": spec.key_data}
        document["keys"] = [{"name": spec.key_name or "default", "type": "ssh", "data": spec.key_data}]
    return document


def network_data(vifs: list[Vif]) -> dict[str, Any]:
    """network_data.json: links, networks and DNS servers."""
    links, networks, services = [], [], []
    for number, vif in enumerate(vifs):
        link = f"tap{vif['id'][:11]}"
        links.append({"id": link, "vif_id": vif["id"], "type": vif["type"], "mtu": vif["network"]["meta"].get("mtu"),
                      "ethernet_mac_address": vif["address"]})
        for index, subnet in enumerate(vif["network"]["subnets"]):
            cidr = ipaddress.ip_network(subnet["cidr"])
            entry: dict[str, Any] = {"id": f"network{number}" if not index else f"network{number}-{index}",
                                     "link": link, "network_id": vif["network"]["id"]}
            if subnet["meta"].get("dhcp_server"):
                networks.append({**entry, "type": f"ipv{cidr.version}_dhcp"})
                continue
            gateway = subnet["gateway"].get("address")
            routes = [{"network": route["cidr"].partition("/")[0],
                       "netmask": str(ipaddress.ip_network(route["cidr"]).netmask),
                       "gateway": route["gateway"]["address"]} for route in subnet["routes"]]
            if gateway:
                any_address = "0.0.0.0" if cidr.version == 4 else "::"  # noqa: S104 - a route, nothing is bound
                routes.insert(0, {"network": any_address, "netmask": any_address, "gateway": gateway})
            dns = [{"type": "dns", "address": server["address"]} for server in subnet["dns"]]
            services.extend(dns)
            networks.extend({**entry, "type": f"ipv{cidr.version}", "ip_address": ip["address"],
                             "netmask": str(cidr.netmask), "routes": routes, "services": dns}
                            for ip in subnet["ips"])
    unique = [service for number, service in enumerate(services) if service not in services[:number]]
    return {"links": links, "networks": networks, "services": unique}


def ec2_meta_data(spec: ServerSpec, vifs: list[Vif]) -> dict[str, Any]:
    """The part of EC2's metadata that cloud images look at."""
    addresses = [ip["address"] for vif in vifs for subnet in vif["network"]["subnets"] for ip in subnet["ips"]]
    document: dict[str, Any] = {
        "instance-id": f"i-{spec.id.replace('-', '')[:8]}", "hostname": spec.hostname,
        "local-hostname": spec.hostname, "local-ipv4": addresses[0] if addresses else "",
        "instance-type": spec.flavor_name, "ami-launch-index": spec.launch_index,
        "placement": {"availability-zone": spec.availability_zone or "nova"}}
    if spec.key_data:
        document["public-keys"] = {"0": {"openssh-key": spec.key_data, "_name": f"0={spec.key_name or 'default'}"}}
    return document


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text.encode()


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
