"""Nothing that a client sends gives a 500: every attribute of every resource with every kind of wrong value."""

from __future__ import annotations

from typing import Any

from cloudseed.neutron.api import qos
from cloudseed.neutron.qos_types import TYPES
from cloudseed.neutron.service import KINDS
from tests.neutron.conftest import N, NeutronCloud, make_network, make_port, ok
from tests.support.cloud import Client

VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 2**200, 1.5, 1e308, "", "x", "x" * 5000, "a\0b", "\x1b", "\u0663", "../../etc/passwd", [],
    {}, [None], [{}], [[]],
    {"a": {"b": []}}, [1, "x", None], "0.0.0.0", "::", "10.0.0.0/8", "10.0.0.0/99", "fd00::1%eth0",
    "ff:ff:ff:ff:ff:ff", "5a5d2864-06df-49f4-b0cd-456f1cdbe6cb", {"network_id": []}, [{"ip_address": []}],
    [{"subnet_id": 5}], [{"start": "10.1.0.5", "end": "fd00::1"}], [{"destination": "x"}], "true", "%(id)s", "'; DROP"]


async def base(admin: Client) -> dict[str, dict[str, Any]]:
    """A valid creation of each resource, to be spoilt."""
    network = await make_network(admin)
    group = ok(await admin.get(f"{N}/security-groups"), 200)[0]
    public = await make_network(admin, "203.0.113.0/24", **{
        "router:external": True, "provider:network_type": "flat", "provider:physical_network": "p"})
    parent = ok(await admin.post(f"{N}/ports", {"port": {"network_id": network["id"]}}), 201)
    return {
        "networks": {}, "subnets": {"network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.0/24"},
        "ports": {"network_id": network["id"]}, "security-groups": {"name": "g"},
        "security-group-rules": {"security_group_id": group["id"], "direction": "ingress"},
        "rbac-policies": {"object_type": "network", "object_id": network["id"], "action": "access_as_shared",
                          "target_tenant": "*"},
        "address-scopes": {"name": "s", "ip_version": 4}, "subnetpools": {"name": "p", "prefixes": ["10.0.0.0/8"]},
        "address-groups": {"name": "a"}, "routers": {}, "floatingips": {"floating_network_id": public["id"]},
        "qos/policies": {"name": "q"}, "security-groups-default-statefulness": {},
        "default-security-group-rules": {"direction": "ingress", "protocol": "tcp"},
        "segments": {"network_id": network["id"], "network_type": "vxlan"}, "agents": {},
        "network-ip-availabilities": {}, "trunks": {"port_id": parent["id"]}}


async def test_no_value_breaks_a_creation_or_a_change(cloud: NeutronCloud, admin: Client) -> None:
    bases = await base(admin)
    assert set(bases) == set(KINDS)
    limits = dict.fromkeys(("network", "subnet", "port", "security_group", "security_group_rule", "router",
                            "floatingip", "rbac_policy"), -1)
    ok(await admin.put(f"{N}/quotas/{admin.project_id}", {"quota": limits}), 200)
    broken: list[Any] = []
    for path, kind in KINDS.items():
        made = await admin.post(f"{N}/{path}", {kind.name: bases[path]})
        assert made.status in (201, 405, 409), (path, made.body)
        target = made.json()[kind.name]["id"] if made.status == 201 else "nope"
        for attribute in kind.attributes:
            for value in VALUES:
                for method, url, body in (("POST", f"{N}/{path}", {**bases[path], attribute: value}),
                                          ("PUT", f"{N}/{path}/{target}", {attribute: value})):
                    answer = await admin.request(method, url, json={kind.name: body})
                    if answer.status >= 500 and answer.status != 503:
                        broken.append((method, path, attribute, value))
                    if answer.status == 201:  # accepted: take it away again
                        await admin.delete(f"{N}/{path}/{answer.json()[kind.name]['id']}")
    assert broken == []


async def test_no_value_breaks_a_rule_of_a_policy(admin: Client) -> None:
    policy = ok(await admin.post(f"{N}/qos/policies", {"policy": {"name": "q"}}))
    for kind, attributes in qos.ATTRIBUTES.items():
        path, name = f"{N}/qos/policies/{policy['id']}/{kind}_rules", f"{kind}_rule"
        base = {TYPES[kind].rate: 8}
        rule = ok(await admin.post(path, {name: base}))
        for attribute in attributes:
            for value in VALUES:
                for method, url, body in (("POST", path, {**base, attribute: value}),
                                          ("PUT", f"{path}/{rule['id']}", {attribute: value})):
                    answer = await admin.request(method, url, json={name: body})
                    assert answer.status < 500, (method, kind, attribute, value, answer.body)
        for column in attributes:
            assert (await admin.get(path, params={column: "\u0663"})).status < 500
        assert (await admin.delete(f"{path}/{rule['id']}")).status == 204


async def test_no_query_breaks_a_list(admin: Client) -> None:
    network = await make_network(admin)
    await make_port(admin, network["id"])
    for path, kind in KINDS.items():
        for name in [*kind.spec.columns, *kind.spec.special, "limit", "marker", "sort_key", "fields", "page_reverse"]:
            for value in ("", "x", "0", "-1", "99999999999999999999", "true", "a\0b", "%", "'", "x" * 3000, "\u0663"):
                answer = await admin.get(f"{N}/{path}", params={name: value, "limit": "2"} if name == "marker"
                                         else {name: value})
                assert answer.status < 500, (path, name, value, answer.body)


async def test_no_id_breaks_a_url(admin: Client) -> None:
    for path in KINDS:
        for id in ("nope", "0", "a" * 500, "%00", "..", "a\u0663b"):
            for method in ("GET", "PUT", "DELETE"):
                answer = await admin.request(method, f"{N}/{path}/{id}", json={} if method == "PUT" else None)
                assert answer.status in (400, 404, 405), (method, path, id, answer.status, answer.body)


async def test_names_and_addresses_end_where_their_line_ends(cloud: NeutronCloud, admin: Client) -> None:
    """They become lines of the host's files: a network with one that is none could not be wired, for all its users."""
    network = await make_network(admin)
    for name, value in (("mac_address", "fa:16:3e:00:00:01\n"), ("dns_name", "web\n"), ("dns_name", "a\n.b")):
        answer = await admin.post(f"{N}/ports", {"port": {"network_id": network["id"], name: value}})
        assert answer.status == 400, (name, value)
    answer = await admin.post(f"{N}/networks", {"network": {"dns_domain": "x\n."}})
    assert answer.status == 400
