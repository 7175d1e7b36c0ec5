"""Where servers go, as a client can ask for it: hosts, zones, groups, disabled hosts; on three fake hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.nova.api.cloud import Json, NovaCloud, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[NovaCloud, list[str]]]:
    async with NovaCloud(tmp_path_factory.mktemp("three"), fake_hosts=3) as cloud:
        found = (await nova(cloud.admin, "GET", "/os-services?binary=nova-compute")).json()["services"]
        generous = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        await nova(cloud.admin, "PUT", f"/os-quota-sets/{cloud.admin.project_id}", generous)
        yield cloud, sorted(service["host"] for service in found)


def host(server: Json) -> str:
    name: str = server["OS-EXT-SRV-ATTR:host"]
    return name


async def test_an_admins_host_is_taken(three: tuple[NovaCloud, list[str]]) -> None:
    cloud, hosts = three
    assert len(set(hosts)) == 3
    for wanted in hosts:
        assert host(await cloud.boot(cloud.admin, host=wanted)) == wanted
        assert host(await cloud.boot(cloud.admin, availability_zone=f"nova:{wanted}")) == wanted
        assert host(await cloud.boot(cloud.admin, hypervisor_hostname=wanted)) == wanted


async def test_a_zones_servers_stay_in_it(three: tuple[NovaCloud, list[str]]) -> None:
    cloud, hosts = three
    made = await nova(cloud.admin, "POST", "/os-aggregates", {"aggregate": {"name": "z", "availability_zone": "az1"}})
    path = f"/os-aggregates/{made.json()['aggregate']['id']}/action"
    assert (await nova(cloud.admin, "POST", path, {"add_host": {"host": hosts[1]}})).status == 200
    for _ in range(3):
        server = await cloud.boot(cloud.admin, availability_zone="az1")
        assert host(server) == hosts[1] and server["OS-EXT-AZ:availability_zone"] == "az1"
    assert {host(await cloud.boot(cloud.admin, availability_zone="nova")) for _ in range(4)} <= {hosts[0], hosts[2]}
    listed = (await nova(cloud.admin, "GET", "/servers?availability_zone=az1")).json()["servers"]
    assert len(listed) >= 3
    assert (await nova(cloud.admin, "POST", path, {"remove_host": {"host": hosts[1]}})).status == 200


async def test_groups_keep_apart_and_together(three: tuple[NovaCloud, list[str]]) -> None:
    cloud, _ = three

    async def hosts_of(policy: str, count: int) -> list[str]:
        body = {"server_group": {"name": policy, "policy": policy}}
        made = await nova(cloud.admin, "POST", "/os-server-groups", body)
        hints = {"os:scheduler_hints": {"group": made.json()["server_group"]["id"]}}
        found = []
        for _ in range(count):
            answer = await nova(cloud.admin, "POST", "/servers", {**cloud.order(), **hints})
            found.append(host(await cloud.wait_for(cloud.admin, answer.json()["server"]["id"], "ACTIVE")))
        return found

    assert len(set(await hosts_of("anti-affinity", 3))) == 3
    assert len(set(await hosts_of("affinity", 3))) == 1


async def test_a_disabled_host_gets_nothing(three: tuple[NovaCloud, list[str]]) -> None:
    cloud, hosts = three
    for name in hosts[:2]:
        off = {"host": name, "binary": "nova-compute"}
        assert (await nova(cloud.admin, "PUT", "/os-services/disable", off, "2.1")).status == 200
    assert {host(await cloud.boot(cloud.admin)) for _ in range(3)} == {hosts[2]}
    refused = await nova(cloud.admin, "POST", "/servers", cloud.order(host=hosts[0]))
    server = await cloud.wait_for(cloud.admin, refused.json()["server"]["id"], "ERROR")
    assert "No valid host" in server["fault"]["message"]
    for name in hosts[:2]:
        await nova(cloud.admin, "PUT", "/os-services/enable", {"host": name, "binary": "nova-compute"}, "2.1")
