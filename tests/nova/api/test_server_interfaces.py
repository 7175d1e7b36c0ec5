"""POST and DELETE of os-interface, addFixedIp and removeFixedIp, as clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(cloud: NovaCloud) -> AsyncIterator[Client]:
    yield await cloud.new_project("interfaces")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(cloud: NovaCloud, user: Client) -> AsyncIterator[str]:
    yield await cloud.new_network(user, "own")


@pytest_asyncio.fixture(loop_scope="module")
async def server(cloud: NovaCloud, user: Client) -> AsyncIterator[Json]:
    made = await cloud.boot(user)
    yield made
    await nova(user, "DELETE", f"/servers/{made['id']}")
    await cloud.wait_gone(user, made["id"])


async def attach(client: Client, server: Json, version: str = "latest", **order: Any) -> Any:
    return await nova(client, "POST", f"/servers/{server['id']}/os-interface", {"interfaceAttachment": order}, version)


async def interfaces(client: Client, server: Json) -> list[Json]:
    found: list[Json] = (await nova(client, "GET", f"/servers/{server['id']}/os-interface")).json()[
        "interfaceAttachments"]
    return found


async def until(count: int, client: Client, server: Json) -> list[Json]:
    async with asyncio.timeout(10):
        while len(found := await interfaces(client, server)) != count:
            await asyncio.sleep(0.02)
    return found


async def test_an_interface_of_a_network(cloud: NovaCloud, user: Client, own: str, server: Json) -> None:
    made = await attach(user, server, net_id=own, fixed_ips=[{"ip_address": "10.1.0.77"}], tag="left")
    assert made.status == 200, made.body
    interface = made.json()["interfaceAttachment"]
    assert set(interface) == {"net_id", "port_id", "mac_addr", "port_state", "fixed_ips", "tag"}
    assert interface["net_id"] == own and interface["tag"] == "left"
    assert [ip["ip_address"] for ip in interface["fixed_ips"]] == ["10.1.0.77"]
    assert interface in await interfaces(user, server)
    shown = (await nova(user, "GET", f"/servers/{server['id']}")).json()["server"]
    assert [a["addr"] for a in shown["addresses"]["own"]] == ["10.1.0.77"] and shown["status"] == "ACTIVE"
    port = (await user.get(f"/networking/v2.0/ports/{interface['port_id']}")).json()["port"]
    assert port["device_id"] == server["id"] and port["device_owner"] == "compute:nova"
    again = await attach(user, server, net_id=own, fixed_ips=[{"ip_address": "10.1.0.77"}])
    assert again.status == 409 and "Fixed IP address 10.1.0.77" in message(again)
    gone = await nova(user, "DELETE", f"/servers/{server['id']}/os-interface/{interface['port_id']}")
    assert gone.status == 202 and gone.body == b""
    await until(1, user, server)
    assert (await user.get(f"/networking/v2.0/ports/{interface['port_id']}")).status == 404
    events = (await nova(user, "GET", f"/servers/{server['id']}/os-instance-actions")).json()["instanceActions"]
    assert [event["action"] for event in events] == ["detach_interface", "attach_interface", "attach_interface",
                                                     "create"]


async def test_a_port_of_the_user(user: Client, own: str, server: Json) -> None:
    port_id = (await user.post("/networking/v2.0/ports", {"port": {"network_id": own}})).json()["port"]["id"]
    made = await attach(user, server, "2.48", port_id=port_id)
    assert made.status == 200 and made.json()["interfaceAttachment"]["port_id"] == port_id
    assert "tag" not in made.json()["interfaceAttachment"]
    taken = await attach(user, server, port_id=port_id)
    assert taken.status == 409 and message(taken) == f"Port {port_id} is still in use."
    assert (await nova(user, "DELETE", f"/servers/{server['id']}/os-interface/{port_id}")).status == 202
    await until(1, user, server)
    kept = (await user.get(f"/networking/v2.0/ports/{port_id}")).json()["port"]
    assert kept["device_id"] == "" and kept["binding:host_id"] == "" if "binding:host_id" in kept else True


async def test_what_cannot_be_attached(cloud: NovaCloud, user: Client, own: str, server: Json) -> None:
    stranger = await cloud.new_project("stranger")
    theirs = await cloud.new_network(stranger, "theirs")
    foreign = (await stranger.post("/networking/v2.0/ports", {"port": {"network_id": theirs}})).json()["port"]["id"]
    nothing = "11111111-1111-4111-8111-111111111111"
    for order, version, status in (
            ({"net_id": own, "port_id": nothing}, "latest", 400), ({"net_id": "x"}, "latest", 400),
            ({"port_id": 5}, "latest", 400), ({"fixed_ips": [{"ip_address": "10.1.0.9"}]}, "latest", 400),
            ({"net_id": own, "fixed_ips": []}, "latest", 400), ({"net_id": own, "tag": "a,b"}, "latest", 400),
            ({"net_id": own, "fixed_ips": [{"ip_address": "10.1.0"}]}, "latest", 400), ({"unknown": 1}, "latest", 400),
            ({"net_id": own, "tag": "a"}, "2.48", 400), ({"net_id": nothing}, "latest", 404),
            ({"port_id": nothing}, "latest", 404), ({"net_id": theirs}, "latest", 404),
            ({"port_id": foreign}, "latest", 404)):
        answer = await attach(user, server, version, **order)
        assert answer.status == status, (order, answer.body)
        assert message(answer)
    assert (await attach(stranger, server, net_id=theirs)).status == 404
    assert (await nova(stranger, "DELETE", f"/servers/{server['id']}/os-interface/{foreign}")).status == 404
    assert (await nova(user, "DELETE", f"/servers/{server['id']}/os-interface/{foreign}")).status == 404
    assert len(await interfaces(user, server)) == 1
    await nova(user, "POST", f"/servers/{server['id']}/action", {"lock": None})
    assert (await attach(cloud.admin, server, net_id=nothing)).status == 404
    await nova(user, "POST", f"/servers/{server['id']}/action", {"unlock": None})


async def test_nothing_asked_means_the_only_network(user: Client, own: str, server: Json) -> None:
    made = await nova(user, "POST", f"/servers/{server['id']}/os-interface")
    assert made.status == 200 and made.json()["interfaceAttachment"]["net_id"] == own
    full = await attach(user, server, net_id=own, fixed_ips=[{"ip_address": "10.9.0.1"}])
    assert full.status in (400, 409), full.body  # not of the network


async def test_addresses_of_old_clients(user: Client, server: Json) -> None:
    (interface,) = await interfaces(user, server)
    first = interface["fixed_ips"][0]["ip_address"]
    path = f"/servers/{server['id']}/action"
    added = await nova(user, "POST", path, {"addFixedIp": {"networkId": interface["net_id"]}}, "2.43")
    assert added.status == 202, added.body
    async with asyncio.timeout(10):
        while len(found := (await nova(user, "GET", f"/servers/{server['id']}/ips")).json()["addresses"][
                "public-net"]) != 2:
            await asyncio.sleep(0.02)
    (new,) = [a["addr"] for a in found if a["addr"] != first]
    assert (await nova(user, "POST", path, {"removeFixedIp": {"address": new}}, "2.43")).status == 202
    async with asyncio.timeout(10):
        while (await nova(user, "GET", f"/servers/{server['id']}/ips")).json()["addresses"][
                "public-net"] != [{"version": 4, "addr": first}]:
            await asyncio.sleep(0.02)
    for body, version, status in (
            ({"addFixedIp": {"networkId": interface["net_id"]}}, "2.44", 404), ({"addFixedIp": {}}, "2.43", 400),
            ({"removeFixedIp": {"address": "x"}}, "2.43", 400),
            ({"removeFixedIp": {"address": "10.1.0.1"}}, "2.44", 404)):
        assert (await nova(user, "POST", path, body, version)).status == status, body
