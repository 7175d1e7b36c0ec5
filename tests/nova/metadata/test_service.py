"""The metadata service behind its socket, as the host process brings guests to it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudseed.host.wire import connect
from cloudseed.nova.metadata import door
from cloudseed.nova.metadata.pace import Pace
from cloudseed.nova.metadata.sources import mac_of
from tests.nova.api.cloud import NovaCloud, nova


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[NovaCloud]:
    async with NovaCloud(tmp_path) as running:
        yield running


class Guest:
    """A server's guest: asks from the server's own address unless told otherwise."""

    def __init__(self, cloud: NovaCloud, server: dict[str, Any]) -> None:
        self.cloud = cloud
        self.id: str = server["id"]
        (addresses,) = server["addresses"].values()
        self.address: str = addresses[0]["addr"]
        self.mac: str = addresses[0]["OS-EXT-IPS-MAC:mac_addr"]

    async def ask(self, path: str, method: str = "GET", body: bytes = b"", headers: str = "",
                  **source: str) -> tuple[int, str]:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        question = f"{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n{headers}{length}\r\n"
        return await self.say(question.encode() + body, **source)

    async def say(self, question: bytes, **source: str) -> tuple[int, str]:
        """Bytes as they are; the status (0: no answer) and the body."""
        reader, writer = await self.open(**source)
        try:
            writer.write(question)
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.transport.abort()
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, content.decode()

    async def open(self, **source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await connect(self.cloud.env.state / "metadata.sock")
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        head = source or {"network_id": self.cloud.network_id, "remote_address": self.address}
        writer.write(msgspec.json.encode(head) + b"\n")
        return reader, writer


@pytest.fixture
async def guest(cloud: NovaCloud) -> Guest:
    return Guest(cloud, await cloud.boot(cloud.admin, metadata={"role": "web"}))


async def test_a_guest_reads_of_itself_and_sees_changes_at_once(cloud: NovaCloud, guest: Guest) -> None:
    status, text = await guest.ask("/openstack/latest/meta_data.json")
    assert status == 200 and json.loads(text)["uuid"] == guest.id and json.loads(text)["meta"] == {"role": "web"}
    answer = await nova(cloud.admin, "POST", f"/servers/{guest.id}/metadata", {"metadata": {"role": "db"}})
    assert answer.status == 200
    assert json.loads((await guest.ask("/openstack/latest/meta_data.json"))[1])["meta"] == {"role": "db"}
    (link,) = json.loads((await guest.ask("/openstack/latest/network_data.json"))[1])["links"]
    assert link["ethernet_mac_address"] == guest.mac
    assert (await guest.ask("/latest/meta-data/local-ipv4"))[1] == guest.address
    assert (await guest.ask("/latest/nothing"))[0] == (await guest.ask("/openstack/1999-01-01"))[0] == 404
    assert (await guest.ask("/%ff"))[0] == 404


async def test_the_zone_is_where_the_server_is(cloud: NovaCloud) -> None:
    made = await nova(cloud.admin, "POST", "/os-aggregates", {"aggregate": {"name": "a", "availability_zone": "east"}})
    path = f"/os-aggregates/{made.json()['aggregate']['id']}/action"
    joined = await nova(cloud.admin, "POST", path, {"add_host": {"host": cloud.config.host}})
    assert joined.status == 200, joined.body
    guest = Guest(cloud, await cloud.boot(cloud.admin))  # it asked for no zone
    assert (await guest.ask("/latest/meta-data/placement/availability-zone"))[1] == "east"
    assert json.loads((await guest.ask("/openstack/latest/meta_data.json"))[1])["availability_zone"] == "east"


async def test_who_asks_is_told_by_the_packet_alone(cloud: NovaCloud, guest: Guest) -> None:
    other = Guest(cloud, await cloud.boot(cloud.admin))
    forged = (f"X-Instance-ID: {other.id}\r\nX-Tenant-ID: {cloud.admin.project_id}\r\nX-Forwarded-For: {other.address}"
              f"\r\nX-Instance-ID-Signature: 0\r\nX-Neutron-Network-ID: {cloud.network_id}\r\n"
              f"X-Neutron-Router-ID: r\r\nForwarded: for={other.address}\r\nX-Metadata-Provider: p\r\n")
    status, text = await guest.ask("/openstack/latest/meta_data.json", headers=forged)
    assert status == 200 and json.loads(text)["uuid"] == guest.id
    nobody = {"network_id": cloud.network_id, "remote_address": "10.1.15.250"}
    assert (await guest.ask("/openstack/latest/meta_data.json", **nobody))[0] == 404
    elsewhere = await cloud.new_network(cloud.admin, "elsewhere")
    foreign = {"network_id": elsewhere, "remote_address": guest.address}
    assert (await guest.ask("/openstack/latest/meta_data.json", **foreign))[0] == 404
    for bad in ({"network_id": "no-id", "remote_address": "x"}, {"network_id": "", "remote_address": guest.address},
                {"router_id": "nothing", "remote_address": guest.address}):
        assert (await guest.ask("/", **bad))[0] == 404


async def test_another_servers_id_on_my_port_tells_me_nothing(cloud: NovaCloud, guest: Guest) -> None:
    thief = await cloud.new_project("thief")
    network_id = await cloud.new_network(thief, "lair")
    port = (await thief.post("/networking/v2.0/ports", {"port": {
        "network_id": network_id, "device_id": guest.id, "device_owner": "compute:nova"}})).json()["port"]
    source = {"network_id": network_id, "remote_address": port["fixed_ips"][0]["ip_address"]}
    assert (await guest.ask("/openstack/latest/user_data", **source))[0] == 404
    assert (await guest.ask("/openstack/latest/meta_data.json", **source))[0] == 404


async def test_by_ipv6_the_link_local_address_names_the_port(cloud: NovaCloud, guest: Guest) -> None:
    numbers = [int(part, 16) for part in guest.mac.split(":")]
    packed = bytes([0xFE, 0x80, *[0] * 6, numbers[0] ^ 2, *numbers[1:3], 0xFF, 0xFE, *numbers[3:]])
    address = ipaddress.IPv6Address(packed)
    assert mac_of(address) == guest.mac
    source = {"network_id": cloud.network_id, "remote_address": f"{address}%br0"}
    assert json.loads((await guest.ask("/openstack/latest/meta_data.json", **source))[1])["uuid"] == guest.id
    for stranger in ("fe80::1", "fe80::f816:3eff:fe00:9999"):
        assert (await guest.ask("/", **{**source, "remote_address": stranger}))[0] == 404


async def test_through_a_router_the_link_names_the_network(cloud: NovaCloud, guest: Guest) -> None:
    source = {"router_id": "r", "network_id": cloud.network_id, "remote_address": guest.address}
    assert json.loads((await guest.ask("/openstack/latest/meta_data.json", **source))[1])["uuid"] == guest.id
    # who spoofs the address by another network of the same router is nobody
    source["network_id"] = await cloud.new_network(cloud.admin, "elsewhere")
    assert (await guest.ask("/openstack/latest/meta_data.json", **source))[0] == 404
    assert (await guest.ask("/openstack/latest/meta_data.json", **{**source, "network_id": ""}))[0] == 404


async def test_a_deleted_servers_address_tells_nothing_of_it(cloud: NovaCloud, guest: Guest) -> None:
    assert (await guest.ask("/latest/meta-data/"))[0] == 200
    assert (await nova(cloud.admin, "DELETE", f"/servers/{guest.id}")).status == 204
    await cloud.wait_gone(cloud.admin, guest.id)
    assert (await guest.ask("/latest/meta-data/"))[0] == 404
    heir = Guest(cloud, await cloud.boot(cloud.admin, networks=[
        {"uuid": cloud.network_id, "fixed_ip": guest.address}]))
    assert json.loads((await guest.ask("/openstack/latest/meta_data.json"))[1])["uuid"] == heir.id


async def test_the_guests_password_is_written_once_read_and_cleared(cloud: NovaCloud, guest: Guest) -> None:
    path, shown = "/openstack/latest/password", f"/servers/{guest.id}/os-server-password"
    assert await guest.ask(path) == (200, "")
    assert (await guest.ask(path, "POST", b"x" * 1021))[0] == 400
    assert (await guest.ask(path, "PUT", b"x"))[0] == 400
    assert await guest.ask(path, "POST", b"encrypted==") == (200, "")
    assert (await guest.ask(path, "POST", b"other"))[0] == 409
    assert await guest.ask("/openstack/2013-04-04/password") == (200, "encrypted==")
    assert (await guest.ask("/openstack/2012-08-10/password"))[0] == 404
    assert (await nova(cloud.admin, "GET", shown)).json() == {"password": "encrypted=="}
    assert (await nova(cloud.admin, "DELETE", shown)).status == 204
    assert (await nova(cloud.admin, "GET", shown)).json() == {"password": ""}
    assert (await guest.ask(path, "POST", b"again"))[0] == 200


@pytest.mark.parametrize(("question", "status"), [
    (b"\x00\x01\x02\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    (b"POST /openstack/latest/password HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + b"x" * 9999, 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    (b"DELETE /latest/meta-data/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    (b"HEAD /latest/meta-data/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    (b"POST /openstack/latest/password HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe",
     400)])
async def test_what_is_no_request_is_refused(guest: Guest, question: bytes, status: int) -> None:
    found, body = await guest.say(question)
    assert found == status
    assert not (question.startswith(b"HEAD") and body)


async def test_one_connection_carries_many_questions_and_a_slow_one_ends(
        guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await guest.open()
    question = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: a\r\n\r\n"
    writer.write(question * 3)
    text = b""
    while text.count(b"200 ") < 3 or not text.endswith(b"vm"):
        text += await asyncio.wait_for(reader.read(4096), 5)
    writer.transport.abort()
    monkeypatch.setattr(door, "REQUEST_S", 0.1)
    monkeypatch.setattr(door, "IDLE_S", 0.2)
    half_a_body = b"POST /openstack/latest/password HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"
    for begun in (b"", b"GET / HT", half_a_body):
        assert (await guest.say(begun))[0] == 0


def test_a_guest_that_asks_without_end_waits_and_others_do_not() -> None:
    now = 100.0
    pace = Pace(10.0, 5, lambda: now)
    assert [pace.delay("greedy") for _ in range(5)] == [0.0] * 5
    assert [round(pace.delay("greedy"), 3) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert pace.delay("modest") == 0.0
    now += 2.0
    assert pace.delay("greedy") == 0.0


async def test_no_neutron_no_answer_yet(cloud: NovaCloud, guest: Guest) -> None:
    cloud.env.edge._mounts = [m for m in cloud.env.edge._mounts if m.name != "neutron-server"]
    found = cloud.service("nova").handle.metadata.sources
    found.forget({guest.id})
    assert (await guest.ask("/latest/meta-data/"))[0] == 503


async def test_what_the_host_process_does_not_say_is_not_believed(cloud: NovaCloud, guest: Guest) -> None:
    sock = await connect(cloud.env.state / "metadata.sock")
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.transport.abort()


async def test_a_floating_address_is_seen_by_guest_and_owner(cloud: NovaCloud, guest: Guest) -> None:
    admin = cloud.admin
    outside = await cloud.new_network(admin, "outside", **{"router:external": True})
    router = (await admin.post("/networking/v2.0/routers", {"router": {
        "external_gateway_info": {"network_id": outside}}})).json()["router"]["id"]
    subnets = (await admin.get(f"/networking/v2.0/subnets?network_id={cloud.network_id}")).json()["subnets"]
    joined = await admin.put(f"/networking/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnets[0]["id"]})
    assert joined.status == 200, joined.body
    (port,) = (await admin.get(f"/networking/v2.0/ports?device_id={guest.id}")).json()["ports"]
    made = await admin.post("/networking/v2.0/floatingips", {"floatingip": {
        "floating_network_id": outside, "port_id": port["id"]}})
    address = made.json()["floatingip"]["floating_ip_address"]

    async def shown() -> list[tuple[str, str]]:
        (addresses,) = (await nova(admin, "GET", f"/servers/{guest.id}")).json()["server"]["addresses"].values()
        return [(one["addr"], one["OS-EXT-IPS:type"]) for one in addresses]

    async with asyncio.timeout(10):
        while (address, "floating") not in await shown():
            await asyncio.sleep(0.05)
    assert (await guest.ask("/latest/meta-data/public-ipv4"))[1] == address
    assert (await admin.delete(f"/networking/v2.0/floatingips/{made.json()['floatingip']['id']}")).status == 204
    async with asyncio.timeout(10):
        while len(await shown()) > 1:
            await asyncio.sleep(0.05)
    assert (await guest.ask("/latest/meta-data/public-ipv4"))[1] == ""


async def test_an_answer_costs_little(guest: Guest) -> None:
    """A generous bound, so that nobody makes it ten times as much unseen: measured 0.8 ms."""
    await guest.ask("/openstack/latest/meta_data.json")
    begun = time.process_time()
    for _ in range(30):
        assert (await guest.ask("/openstack/latest/meta_data.json"))[0] == 200
    assert (time.process_time() - begun) / 30 < 0.02
