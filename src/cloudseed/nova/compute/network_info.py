"""The picture of a server's network that nova keeps: from neutron's ports, networks and subnets, pure.

It is a list of interfaces (`Vif`), in the order in which the server has them.  As JSON (column
`servers.network_info`) each has upstream's shape:

    {"id": port, "address": MAC, "active": bool, "type": "bridge", "vnic_type": "normal", "devname": "tap...",
     "details": {...}, "profile": {...}, "preserve_on_delete": bool, "meta": {}, "tag": the user's, if any,
     "network": {"id", "bridge", "label": network name, "meta": {"injected": false, "tenant_id", "mtu"},
                 "subnets": [{"cidr", "version": 4, "gateway": {"address", "type": "gateway", "version"},
                              "dns": [{"address", "type": "dns", "version"}], "routes": [],
                              "ips": [{"address", "type": "fixed", "version", "floating_ips": []}],
                              "meta": {"dhcp_server": ...}}]}}
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

Vif = dict[str, Any]


def network_info(port_order: Iterable[str], ports: Iterable[Mapping[str, Any]],
                 networks: Mapping[str, Mapping[str, Any]], subnets: Iterable[Mapping[str, Any]],
                 dhcp_ports: Iterable[Mapping[str, Any]], given: Iterable[str],
                 tags: Mapping[str, str] | None = None, floating: Iterable[Mapping[str, Any]] = ()) -> list[Vif]:
    """The interfaces.  `port_order`: known order of port ids, others follow; `given`: ports that stay on delete;
    `tags`: the users' names for interfaces, by port id; `floating`: the ports' floating addresses."""
    rank = {port_id: number for number, port_id in enumerate(port_order)}
    ordered = sorted(ports, key=lambda port: (rank.get(port["id"], len(rank)), port.get("created_at") or "",
                                              port["id"]))
    by_id = {subnet["id"]: subnet for subnet in subnets}
    dhcp_servers = {ip["subnet_id"]: ip["ip_address"] for port in dhcp_ports for ip in port.get("fixed_ips", ())}
    kept = frozenset(given)
    outside: dict[tuple[str, str], list[str]] = {}
    for address in floating:
        outside.setdefault((address["port_id"], address["fixed_ip_address"]), []).append(address["floating_ip_address"])
    vifs = [_vif(port, networks.get(port["network_id"], {}), by_id, dhcp_servers, port["id"] in kept, outside)
            for port in ordered]
    return [{**vif, "tag": tags[vif["id"]]} if tags and vif["id"] in tags else vif for vif in vifs]


def _vif(port: Mapping[str, Any], network: Mapping[str, Any], subnets: Mapping[str, Mapping[str, Any]],
         dhcp_servers: Mapping[str, str], kept: bool, outside: Mapping[tuple[str, str], list[str]]) -> Vif:
    used: dict[str, list[dict[str, Any]]] = {}
    for fixed in port.get("fixed_ips", ()):
        floating = [_address(address, "floating") for address in outside.get((port["id"], fixed["ip_address"]), ())]
        used.setdefault(fixed["subnet_id"], []).append({**_address(fixed["ip_address"], "fixed"),
                                                        "floating_ips": floating})
    return {
        "id": port["id"], "address": port["mac_address"],
        "network": {
            "id": port["network_id"], "bridge": f"brq{port['network_id'][:11]}", "label": network.get("name", ""),
            "subnets": [_subnet(subnets[subnet_id], ips, dhcp_servers.get(subnet_id))
                        for subnet_id, ips in used.items() if subnet_id in subnets],
            "meta": {"injected": False, "tenant_id": network.get("tenant_id") or network.get("project_id"),
                     "mtu": network.get("mtu")}},
        "type": port.get("binding:vif_type") or "unbound", "details": port.get("binding:vif_details") or {},
        "devname": f"tap{port['id'][:11]}", "vnic_type": port.get("binding:vnic_type") or "normal",
        "profile": port.get("binding:profile") or {}, "active": port.get("status") == "ACTIVE",
        "preserve_on_delete": kept, "meta": {}}


def _subnet(subnet: Mapping[str, Any], ips: list[dict[str, Any]], dhcp_server: str | None) -> dict[str, Any]:
    gateway = subnet.get("gateway_ip")
    return {
        "cidr": subnet["cidr"], "version": subnet.get("ip_version", 4),
        "gateway": _address(gateway, "gateway") if gateway else
        {"address": None, "type": "gateway", "version": None, "meta": {}},
        "dns": [_address(server, "dns") for server in subnet.get("dns_nameservers", ())],
        "routes": [{"cidr": route["destination"], "gateway": _address(route["nexthop"], "gateway"), "interface": None}
                   for route in subnet.get("host_routes", ())],
        "ips": ips,
        "meta": {**({"dhcp_server": dhcp_server} if dhcp_server else {}),
                 **({"ipv6_address_mode": mode} if (mode := subnet.get("ipv6_address_mode")) else {})}}


def _address(address: str, kind: str) -> dict[str, Any]:
    return {"address": address, "type": kind, "version": ipaddress.ip_address(address).version, "meta": {}}
