"""POST /servers refuses what cannot be, with upstream's status and a reason, before anything is written."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = "11111111-2222-3333-4444-555555555555"


async def refused(cloud: NovaCloud, client: Client, change: dict[str, Any], status: int = 400,
                  version: str = "latest", **beside: Any) -> str:
    """The reason; nothing is written."""
    answer = await nova(client, "POST", "/servers", {**cloud.order(**change), **beside}, version)
    assert answer.status == status, answer.body
    assert (await nova(client, "GET", "/servers")).json()["servers"] == []
    return message(answer)


@pytest.fixture(scope="module")
def clients() -> dict[str, Client]:
    return {}


async def client_of(cloud: NovaCloud, clients: dict[str, Client]) -> Client:
    if "one" not in clients:
        clients["one"] = await cloud.new_project("orders")
    return clients["one"]


@pytest.mark.parametrize("change", [
    {"name": ""}, {"name": " x"}, {"name": "x" * 256}, {"name": "a\x00b"}, {"name": "a\nb"}, {"name": 5},
    {"name": "\u2028"}, {"flavorRef": ""}, {"flavorRef": ["1"]}, {"flavorRef": "x" * 300}, {"imageRef": "not-a-uuid"},
    {"imageRef": {}}, {"networks": "some"}, {"networks": [{}]}, {"networks": [{"uuid": "x"}]},
    {"networks": [{"uuid": NOBODY, "color": "red"}]}, {"networks": [{"uuid": NOBODY, "fixed_ip": "10.0.0"}]},
    {"networks": [{"port": "x"}]}, {"networks": 5}, {"networks": [{"uuid": NOBODY, "tag": "a,b"}]},
    {"metadata": {"a/b": "c"}}, {"metadata": {"a": "x" * 256}}, {"metadata": ["x"]}, {"metadata": {"": "x"}},
    {"metadata": {"a": None}}, {"metadata": {"a\n": "x"}}, {"user_data": "not base64!"},
    {"user_data": base64.b64encode(b"x" * 60000).decode()}, {"config_drive": "perhaps"}, {"min_count": 0},
    {"min_count": 3, "max_count": 2}, {"max_count": "many"}, {"max_count": 2**31}, {"min_count": -1},
    {"security_groups": "default"}, {"security_groups": [{"id": "x"}]}, {"security_groups": [{"name": ""}]},
    {"security_groups": [{"name": "a"}, {"name": "a"}]}, {"description": "x" * 256}, {"description": "a\x00"},
    {"tags": ["a,b"]}, {"tags": ["a", "a"]}, {"tags": [str(i) for i in range(51)]}, {"tags": ["x" * 61]}, {"tags": "x"},
    {"hostname": "a b"}, {"hostname": "-a"}, {"hostname": "a" * 64}, {"hostname": ""}, {"key_name": ""},
    {"OS-DCF:diskConfig": "SOMETIMES"}, {"accessIPv4": "fd00::1"}, {"accessIPv6": "1.2.3.4"}, {"accessIPv4": "x"},
    {"block_device_mapping_v2": [{"source_type": "volume", "uuid": NOBODY, "boot_index": 0}]},
    {"block_device_mapping_v2": [{"source_type": "image", "uuid": NOBODY, "destination_type": "volume"}]},
    {"block_device_mapping_v2": "x"}, {"block_device_mapping": [{"volume_id": NOBODY}]}, {"unknown": 1},
    {"trusted_image_certificates": []}, {"personality": []}, {"availability_zone": "a" * 256},
    {"adminPass": 5}, {"return_reservation_id": "perhaps"}, {"flavorRef": True, "name": None}])
async def test_the_form_is_checked(cloud: NovaCloud, clients: dict[str, Client], change: dict[str, Any]) -> None:
    assert await refused(cloud, await client_of(cloud, clients), change)


@pytest.mark.parametrize("missing", ["name", "flavorRef", "networks", "imageRef"])
async def test_what_is_missing_is_named(cloud: NovaCloud, clients: dict[str, Client], missing: str) -> None:
    assert missing in await refused(cloud, await client_of(cloud, clients), {missing: None})


@pytest.mark.parametrize(("field", "value", "version"), [
    ("description", "x", "2.18"), ("tags", ["x"], "2.51"), ("hostname", "x", "2.89"), ("host", "localhost", "2.73"),
    ("trusted_image_certificates", ["x"], "2.62"), ("networks", "none", "2.36"),
    ("personality", [{"path": "/a", "contents": "eA=="}], "2.57"), ("hostname", "a.b", "2.93")])
async def test_fields_belong_to_microversions(cloud: NovaCloud, clients: dict[str, Client], field: str, value: Any,
                                              version: str) -> None:
    assert await refused(cloud, await client_of(cloud, clients), {field: value}, version=version)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"server": null}', b'{"server": []}', b'{"x": 1}',
                                  b"[" * 50_000, b'{"server": {"name": "x"}, "more": 1}', b"\xff\xfe{}",
                                  b'{"server": {"name": ' + b"1" * 600_000 + b"}}"])
async def test_broken_bodies(cloud: NovaCloud, body: bytes) -> None:
    answer = await nova(cloud.admin, "POST", "/servers", body=body)
    assert answer.status in (400, 413) and message(answer)


@pytest.mark.parametrize(("change", "status", "reason"), [
    ({"flavorRef": "nothing"}, 400, "Flavor nothing could not be found."),
    ({"imageRef": NOBODY}, 400, "Can not find requested image"),
    ({"imageRef": ""}, 400, "Missing imageRef attribute"),
    ({"key_name": "nobody"}, 400, "Invalid key_name provided."),
    ({"networks": [{"uuid": NOBODY}]}, 400, f"Network {NOBODY} could not be found."),
    ({"networks": [{"port": NOBODY}]}, 400, f"Port id {NOBODY} could not be found."),
    ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
    ({"metadata": {str(i): "x" for i in range(129)}}, 403, "Maximum number of metadata items exceeds 128"),
    ({"flavorRef": "5", "min_count": 3}, 403, "Quota exceeded for cores: Requested 24, but already used 0 of 20 cores"),
    ({"flavorRef": "5", "min_count": 11}, 403, "Quota exceeded for cores, instances, ram: Requested 88, 11, 180224, "
     "but already used 0, 0, 0 of 20, 10, 51200 cores, instances, ram"),
    ({"host": "localhost"}, 403, "Policy doesn't allow compute:servers:create:requested_destination to be performed."),
    ({"availability_zone": "nova:localhost"}, 403,
     "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")])
async def test_what_is_named_must_exist_and_fit(cloud: NovaCloud, clients: dict[str, Client], change: dict[str, Any],
                                                status: int, reason: str) -> None:
    assert await refused(cloud, await client_of(cloud, clients), change, status) == reason


@pytest.mark.parametrize(("image", "reason"), [
    ({"status": "queued"}, "is not active."), ({"status": "deactivated"}, "is not active."),
    ({"min_ram": 1000}, "Flavor's memory is too small for requested image."),
    ({"min_disk": 2}, "Flavor's disk is smaller than the minimum size specified in image metadata."),
    ({"size": 2 * 2**30}, "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is "
     "2147483648 bytes.")])
async def test_the_image_must_be_usable(cloud: NovaCloud, clients: dict[str, Client], image: dict[str, Any],
                                        reason: str) -> None:
    assert reason in await refused(cloud, await client_of(cloud, clients), {"imageRef": cloud.images.add(**image)})


async def test_networks_must_be_usable(cloud: NovaCloud, clients: dict[str, Client]) -> None:
    user = await client_of(cloud, clients)
    bare = (await user.post("/networking/v2.0/networks", {"network": {"name": "bare"}})).json()["network"]["id"]
    assert await refused(cloud, user, {"networks": [{"uuid": bare}]}) == (
        f"Network {bare} requires a subnet in order to boot instances on.")
    external = await cloud.new_network(cloud.admin, "ext", **{"router:external": True})
    reason = await refused(cloud, user, {"networks": [{"uuid": external}]}, 403)
    assert reason == f"It is not allowed to create an interface on external network {external}"
    port = (await user.post("/networking/v2.0/ports", {"port": {
        "network_id": cloud.network_id, "device_id": "taken", "device_owner": "mine"}})).json()["port"]
    in_use = await refused(cloud, user, {"networks": [{"port": port["id"]}]}, 409)
    assert in_use == f"Port {port['id']} is still in use."
    taken = port["fixed_ips"][0]["ip_address"]
    assert await refused(cloud, user, {"networks": [{"uuid": cloud.network_id, "fixed_ip": taken}]}) == (
        f"Fixed IP address {taken} is already in use on instance taken.")
    two = {"networks": [{"port": port["id"]}], "min_count": 2}
    assert (await refused(cloud, user, two)).startswith("Failed to launch multiple instances with a single configured")
    foreign = await cloud.new_project("foreign")
    theirs = await cloud.new_network(foreign, "theirs")
    assert await refused(cloud, user, {"networks": [{"uuid": theirs}]}) == f"Network {theirs} could not be found."
    await cloud.admin.put(f"/networking/v2.0/quotas/{user.project_id}", {"quota": {"port": 1}})
    assert await refused(cloud, user, {"networks": [{"uuid": cloud.network_id}]}, 403) == (
        "Maximum number of ports exceeded")
    await cloud.admin.delete(f"/networking/v2.0/quotas/{user.project_id}")


async def test_security_groups_must_exist(cloud: NovaCloud, clients: dict[str, Client]) -> None:
    user = await client_of(cloud, clients)
    reason = await refused(cloud, user, {"security_groups": [{"name": "nobody"}]})
    assert reason == "Unable to find security_group with name or id 'nobody'"
    for _ in range(2):
        await user.post("/networking/v2.0/security-groups", {"security_group": {"name": "twin"}})
    reason = await refused(cloud, user, {"security_groups": [{"name": "twin"}]}, 409)
    assert reason == "Multiple security groups found matching 'twin'. Use an ID to be more specific."


async def test_hints_and_groups_are_checked(cloud: NovaCloud, clients: dict[str, Client]) -> None:
    user = await client_of(cloud, clients)
    for hints in ({"group": "x"}, {"group": 5}, {"same_host": ["x"]}, [], {"different_host": "x"},
                  {"query": "x"}, {"query": ["=", "$mood", 1]}, {"build_near_host_ip": "x"}):
        assert await refused(cloud, user, {}, **{"os:scheduler_hints": hints})
    reason = await refused(cloud, user, {}, **{"os:scheduler_hints": {"group": NOBODY}})
    assert reason == f"Instance group {NOBODY} could not be found."


async def test_several_networks_are_ambiguous(cloud: NovaCloud) -> None:
    user = await cloud.new_project("ambiguous")
    for name in ("one", "two"):
        await cloud.new_network(user, name)
    assert await refused(cloud, user, {"networks": "auto"}, 409) == (
        "Multiple possible networks found, use a Network ID to be more specific.")
    assert await refused(cloud, user, {"networks": None}, 409, "2.1")


# ---- and what is right is taken

async def test_an_order_with_everything(cloud: NovaCloud) -> None:
    user = await cloud.new_project("everything")
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOhuqyeWt1/xjwpQ9FYOVEDJe+yAoFPtYw/VxFe2BJSg me"
    await nova(user, "POST", "/os-keypairs", {"keypair": {"name": "key", "public_key": public}})
    group = (await user.post("/networking/v2.0/security-groups", {"security_group": {"name": "web"}})).json()
    group_id = group["security_group"]["id"]
    port = (await user.post("/networking/v2.0/ports", {"port": {"network_id": cloud.network_id}})).json()["port"]
    together = (await nova(user, "POST", "/os-server-groups", {"server_group": {
        "name": "g", "policy": "affinity"}})).json()["server_group"]["id"]
    order = cloud.order(
        name="all", imageRef=cloud.images.add(hw_disk_bus="virtio"), networks=[
            {"port": port["id"]}, {"uuid": cloud.network_id.replace("-", ""), "fixed_ip": "10.1.7.7", "tag": "nic"}],
        key_name="key", user_data=base64.b64encode(b"#!/bin/sh\n").decode(), metadata={"a": "b"}, config_drive="true",
        security_groups=[{"name": group_id}, {"name": "default"}], availability_zone="nova", description="text",
        tags=["t2", "t1"], hostname="host.example", adminPass="secret", accessIPv4="192.0.2.1", min_count="1",
        flavorRef="http://somewhere/flavors/c1")
    order["os:scheduler_hints"] = {"group": together}
    answer = await nova(user, "POST", "/servers", order)
    assert answer.status == 202, answer.body
    assert answer.json()["server"]["adminPass"] == "secret"
    server = await cloud.wait_for(user, answer.json()["server"]["id"], "ACTIVE")
    assert server["key_name"] == "key" and server["config_drive"] == "True" and server["tags"] == ["t1", "t2"]
    assert {a["addr"] for a in server["addresses"]["public-net"]} == {port["fixed_ips"][0]["ip_address"], "10.1.7.7"}
    assert server["server_groups"] == [together] and server["scheduler_hints"] == {"group": together}
    assert server["image"]["properties"] == {"hw_disk_bus": "virtio"}
    assert {g["name"] for g in server["security_groups"]} == {"web", "default"}
    assert server["pinned_availability_zone"] == "nova" == server["OS-EXT-AZ:availability_zone"]
    members = (await nova(user, "GET", f"/os-server-groups/{together}")).json()["server_group"]["members"]
    assert members == [server["id"]]
    interfaces = (await nova(user, "GET", f"/servers/{server['id']}/os-interface")).json()["interfaceAttachments"]
    assert {i["port_id"] for i in interfaces} >= {port["id"]} and len(interfaces) == 2
    assert all(i["fixed_ips"][0]["subnet_id"] for i in interfaces)
    await nova(user, "DELETE", f"/servers/{server['id']}")
    await cloud.wait_gone(user, server["id"])
    kept = (await user.get(f"/networking/v2.0/ports/{port['id']}")).json()["port"]
    assert kept["device_id"] == "" and len((await user.get("/networking/v2.0/ports")).json()["ports"]) == 1


@pytest.mark.parametrize(("networks", "version"), [("none", "2.37"), ("auto", "2.37"), (None, "2.1"), ([], "2.1")])
async def test_networks_by_default(cloud: NovaCloud, networks: Any, version: str) -> None:
    user = await cloud.new_project(f"default-{uuid.uuid4().hex[:8]}")
    mine = await cloud.new_network(user, "mine")
    server = await cloud.boot(user, version, networks=networks)
    ports = (await user.get("/networking/v2.0/ports", params={"device_id": server["id"]})).json()["ports"]
    assert [p["network_id"] for p in ports] == ([] if networks == "none" else [mine])


async def test_admins_choose_hosts(cloud: NovaCloud) -> None:
    server = await cloud.boot(cloud.admin, host="localhost")
    assert server["OS-EXT-SRV-ATTR:host"] == "localhost"
    forced = await cloud.boot(cloud.admin, availability_zone="nova:localhost")
    assert forced["OS-EXT-SRV-ATTR:host"] == "localhost"
    for change in ({"host": "nowhere"}, {"availability_zone": "nova:nowhere"}, {"hypervisor_hostname": "nowhere"},
                   {"availability_zone": "nova:localhost", "host": "localhost"}, {"availability_zone": ":localhost"},
                   {"availability_zone": "a:b:c:d"}):
        answer = await nova(cloud.admin, "POST", "/servers", cloud.order(**change))
        assert answer.status == 400, (change, answer.body)


async def test_an_image_device_mapping_is_an_image(cloud: NovaCloud) -> None:
    mapping = [{"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": cloud.image_id,
                "delete_on_termination": True}]
    server = await cloud.boot(cloud.admin, block_device_mapping_v2=mapping)
    assert server["image"]["id"] == cloud.image_id
    answer = await nova(cloud.admin, "POST", "/servers", cloud.order(imageRef=None, block_device_mapping_v2=mapping))
    assert answer.status == 400 and "Mapping image to local is not supported" in message(answer)
