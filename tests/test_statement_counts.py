"""No request asks the databases more often because there is more to show: 10 of everything, then 1,000."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudseed.nova.server_security_groups import CHUNK
from tests.nova.api.cloud import NovaCloud, nova
from tests.support.cloud import Client, Cloud
from tests.support.multiply import Seed
from tests.support.routes import routes_of
from tests.support.statements import counted_statements

HEADERS = {"openstack-api-version": "compute latest, volume latest, placement latest"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0nWzRlUhmjOcJsvRmk1pQXDdbyQz5sNrXgkNkYGXd x"
Json = dict[str, Any]


class Maker:
    """One thing of each kind, made through the API by the administrator."""

    def __init__(self, cloud: Cloud, admin: Client) -> None:
        self.cloud = cloud
        self.admin = admin
        self.ids: dict[str, str] = {}  # parameter of a route's template -> the id that fills it

    async def make(self, path: str, body: Any, *names: str, method: str = "POST") -> Json:
        answer = await self.admin.request(method, path, json=body, headers=HEADERS)
        assert answer.status < 300, (path, answer.status, answer.body)
        made: Json = answer.json() if answer.body else {}
        inner = next(iter(made.values()), made) if len(made) == 1 else made
        for name in names:
            self.ids[name] = inner["id"]
        return inner if isinstance(inner, dict) else made

    async def identity(self) -> None:
        v3 = "/identity/v3"
        project = await self.make(f"{v3}/projects", {"project": {"name": "p", "tags": ["a"]}}, "keystone:project_id")
        user = await self.make(f"{v3}/users", {"user": {"name": "u", "password": "secret-pw"}}, "keystone:user_id")
        group = await self.make(f"{v3}/groups", {"group": {"name": "g"}}, "keystone:group_id")
        role = await self.make(f"{v3}/roles", {"role": {"name": "r"}}, "keystone:role_id")
        for actor in (f"users/{user['id']}", f"groups/{group['id']}", f"users/{self.admin.user_id}"):
            await self.make(f"{v3}/projects/{project['id']}/{actor}/roles/{role['id']}", None, method="PUT")
        await self.make(f"{v3}/groups/{group['id']}/users/{user['id']}", None, method="PUT")
        region = await self.make(f"{v3}/regions", {"region": {"description": "x"}}, "keystone:region_id")
        service = await self.make(f"{v3}/services", {"service": {"name": "s", "type": "t"}}, "keystone:service_id")
        await self.make(f"{v3}/endpoints", {"endpoint": {
            "service_id": service["id"], "interface": "public", "url": "http://x", "region_id": region["id"]}},
            "keystone:endpoint_id")
        await self.make(f"{v3}/credentials", {"credential": {"type": "cert", "blob": "x", "user_id": user["id"]}})
        await self.make(f"{v3}/users/{self.admin.user_id}/application_credentials",
                        {"application_credential": {"name": "a"}})

    async def networking(self) -> None:
        v2 = "/networking/v2.0"
        network = await self.make(f"{v2}/networks", {"network": {"name": "n"}}, "neutron:network_id")
        subnet = await self.make(f"{v2}/subnets", {"subnet": {
            "network_id": network["id"], "cidr": "10.9.0.0/16", "ip_version": 4}}, "neutron:subnet_id")
        group = await self.make(f"{v2}/security-groups", {"security_group": {"name": "g"}}, "neutron:security_group_id")
        await self.make(f"{v2}/security-group-rules", {"security_group_rule": {
            "security_group_id": group["id"], "direction": "ingress", "remote_ip_prefix": "10.0.0.0/8"}})
        await self.make(f"{v2}/ports", {"port": {"network_id": network["id"], "security_groups": [group["id"]]}},
                        "neutron:port_id")
        router = await self.make(f"{v2}/routers", {"router": {"name": "r"}}, "neutron:router_id")
        await self.make(f"{v2}/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}, method="PUT")
        await self.make(f"{v2}/subnetpools", {"subnetpool": {"name": "p", "prefixes": ["10.64.0.0/12"]}})
        await self.make(f"{v2}/address-scopes", {"address_scope": {"name": "s", "ip_version": 4}})
        await self.make(f"{v2}/address-groups", {"address_group": {"name": "g", "addresses": ["10.0.0.0/8"]}})
        policy = await self.make(f"{v2}/qos/policies", {"policy": {"name": "q"}}, "neutron:policy_id")
        await self.make(f"{v2}/qos/policies/{policy['id']}/bandwidth_limit_rules",
                        {"bandwidth_limit_rule": {"max_kbps": 1000}})

    async def volumes(self) -> None:
        v3 = "/volume/v3"
        await self.make(f"{v3}/types", {"volume_type": {"name": "t", "extra_specs": {"a": "b"}}})
        await self.make(f"{v3}/qos-specs", {"qos_specs": {"name": "q", "consumer": "front-end"}})
        await self.make(f"{v3}/group_types", {"group_type": {"name": "g"}})

    async def objects(self) -> None:
        account = f"/object-store/v1/AUTH_{self.admin.project_id}"
        for path, body in ((f"{account}/c", b""), (f"{account}/c/o", b"bytes")):
            assert (await self.admin.put(path, body=body)).status == 201


def lists(cloud: Cloud) -> list[str]:
    """Every path that GET answers without an id in it, and some with."""
    found = []
    for service in cloud.runtime.services:
        for mount in service.mounts:
            if mount.prefix in ("/dashboard", "/console"):
                continue
            for route in routes_of(mount.app):
                if "{" not in route.path and any(m.method == "GET" and not m.internal for m in route.methods):
                    found.append(mount.prefix + route.path)
    return sorted(found)


async def _counts(admin: Client, paths: list[str]) -> dict[str, int]:
    found = {}
    for path in paths:
        await admin.get(path, headers=HEADERS)  # what is cached after the first time is
        with counted_statements() as statements:
            answer = await admin.get(path, headers=HEADERS)
        assert answer.status < 500, (path, answer.status, answer.body)
        if answer.status < 300:
            found[path] = len(statements)
    return found


async def _hold(seed: Seed, admin: Client, paths: list[str]) -> dict[str, int]:
    """Ten of everything, then a thousand; what each path cost."""
    await seed.multiply(range(1, 10))
    few = await _counts(admin, paths)
    await seed.multiply(range(10, 1000))
    many = await _counts(admin, paths)
    grown = {path: (few[path], many.get(path, 0)) for path in few if many.get(path) != few[path]}
    few_servers, many_servers = grown.pop("/compute/v2.1/servers/detail", (0, 0))
    assert many_servers <= few_servers * -(-1000 // CHUNK)  # neutron is asked for so many servers in one URL
    assert grown == {}
    return few


async def test_a_thousand_cost_as_many_statements_as_ten(tmp_path: Path) -> None:
    async with NovaCloud(tmp_path) as cloud:
        admin = cloud.admin
        maker = Maker(cloud, admin)
        seed = Seed(cloud)
        await seed.remember()
        await maker.identity()
        await maker.networking()
        await maker.make("/compute/v2.1/flavors", {"flavor": {"name": "f", "vcpus": 1, "ram": 64, "disk": 1}})
        await maker.make("/compute/v2.1/os-aggregates", {"aggregate": {"name": "a"}})
        await maker.make("/compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}})
        await maker.make("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": KEY}})
        await maker.make("/placement/resource_providers", {"name": "provider"})
        server = await cloud.boot(admin, metadata={"a": "b"}, tags=["t"])
        assert await cloud.service("nova").handle.engine.idle()
        shows = [f"/compute/v2.1/servers/{server['id']}", f"/compute/v2.1/servers/{server['id']}/os-interface",
                 f"/compute/v2.1/servers/{server['id']}/os-instance-actions"]
        shows += [f"/networking/v2.0/{kind}/{maker.ids[f'neutron:{name}']}" for kind, name in (
            ("networks", "network_id"), ("subnets", "subnet_id"), ("ports", "port_id"), ("routers", "router_id"),
            ("security-groups", "security_group_id"))]
        shows += [f"/identity/v3/{kind}/{maker.ids[f'keystone:{name}']}" for kind, name in (
            ("projects", "project_id"), ("users", "user_id"), ("groups", "group_id"), ("roles", "role_id"))]
        for path in shows:
            assert (await admin.get(path, headers=HEADERS)).status == 200, path
        paths = [*lists(cloud), *shows, "/placement/allocation_candidates?resources=VCPU:1"]
        costs = await _hold(seed, admin, paths)
        servers: list[Json] = (await nova(admin, "GET", "/servers/detail")).json()["servers"]
        assert len(servers) == 1000 and len(costs) > 80


async def test_images_types_and_containers(tmp_path: Path) -> None:
    async with Cloud(tmp_path, ("keystone", "swift", "glance", "cinder")) as cloud:
        admin = await cloud.login("admin")
        maker, seed = Maker(cloud, admin), Seed(cloud)
        await seed.remember()
        image = await maker.make("/image/v2/images", {"name": "i", "tags": ["t"], "x": "y"})
        await maker.volumes()
        await maker.objects()
        account = f"/object-store/v1/AUTH_{admin.project_id}"
        costs = await _hold(seed, admin, [*lists(cloud), f"/image/v2/images/{image['id']}", account, f"{account}/c"])
        assert len(costs) > 40
