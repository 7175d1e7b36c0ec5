"""Real guests and what they make of their metadata: Debian's own cloud-init, and the tiny image.

The whole cloud is real: the packets go from the guest through its tap, past the firewall, to 169.254.169.254 in the
network's namespace, through the host process to nova.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.guest_images import BuildError, build_debian, build_tiny
from cloudseed.host.paths import StatePaths, namespace_name
from tests.host.conftest import Host, _needs_root, _one_probe, cloud, image_cache, state
from tests.nova.engine.test_real_boot import VERSION, RealCloud, make_network, upload, wait, wait_console
from tests.support.cloud import Client

__all__ = ["_needs_root", "_one_probe", "cloud", "image_cache", "state"]
pytestmark = pytest.mark.real

USER_DATA = """#cloud-config
write_files:
- path: /etc/written-by-user-data
  content: "written\\n"
  permissions: '0600'
runcmd:
- [sh, -c, 'echo "ran as $(id -un)" >/run/ran-by-user-data']
"""


@pytest.fixture
async def host(cloud: str, state: StatePaths) -> AsyncIterator[Host]:
    running = Host(cloud, state)
    await running.start()
    try:
        yield running
    finally:
        await running.client.purge()
        await running.stop()


@pytest.fixture(scope="module")
def debian_image() -> Path:
    try:
        return build_debian(Path(os.environ.get("CLOUDSEED_CACHE") or "/var/cache/cloudseed"))
    except BuildError as exc:
        pytest.skip(f"the image cannot be built here: {exc}")


async def boot(admin: Client, network_id: str, key: Path, **values: Any) -> dict[str, Any]:
    """A server that is ACTIVE, with the key; returns it as its creation showed it, with its address."""
    public = Path(f"{key}.pub").read_text()
    made = await admin.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "type": "ssh",
                                                                      "public_key": public}}, headers=VERSION)
    assert made.status in (201, 409), made.body
    answer = await admin.post("/compute/v2.1/servers", {"server": {
        "networks": [{"uuid": network_id}], "key_name": "k", **values}}, headers=VERSION)
    assert answer.status == 202, answer.body
    created: dict[str, Any] = answer.json()["server"]
    found = await wait(admin, created["id"], "ACTIVE", 120)
    (addresses,) = found["addresses"].values()
    of = {each["version"]: each["addr"] for each in addresses}
    return {**created, "address": of[4], "address6": of.get(6)}


class Ssh:
    """Logs in from the network's own namespace, as a neighbour would."""

    def __init__(self, host: Host, network_id: str, key: Path) -> None:
        self._enter = ["ip", "netns", "exec", namespace_name(host.cloud, network_id)]
        self._key = key

    async def __call__(self, who: str, command: str, deadline_s: float = 120) -> str:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=20",
                   "LogLevel=ERROR")
        argv = [*self._enter, "ssh", "-i", str(self._key), *(w for o in options for w in ("-o", o)), who, command]
        async with asyncio.timeout(deadline_s):
            while True:
                done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True,
                                               stdin=subprocess.DEVNULL, timeout=deadline_s)
                if done.returncode != 255:
                    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
                    return done.stdout
                await asyncio.sleep(1)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


async def open_door(admin: Client, network_id: str) -> None:
    """Let neighbours of the network in by SSH."""
    groups = (await admin.get(f"/networking/v2.0/security-groups?name=default&project_id={admin.project_id}"
                              )).json()["security_groups"]
    for group in groups:
        rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 22,
                "port_range_max": 22}
        assert (await admin.post("/networking/v2.0/security-group-rules",
                                 {"security_group_rule": rule})).status in (201, 409)


async def test_cloud_init_on_debian_is_done_with_all_that_it_was_told(
        host: Host, debian_image: Path, key: Path) -> None:
    async with RealCloud(host) as cloud:
        admin = await cloud.login("admin")
        image_id, network_id = await upload(admin, debian_image), await make_network(admin)
        stateful = {"network_id": network_id, "ip_version": 6, "cidr": "fd00:9::/64", "ipv6_ra_mode": "dhcpv6-stateful",
                    "ipv6_address_mode": "dhcpv6-stateful"}
        assert (await admin.post("/networking/v2.0/subnets", {"subnet": stateful})).status == 201
        properties = {"hw_qemu_guest_agent": "yes", "os_require_quiesce": "yes", "os_admin_user": "debian"}
        changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
        answer = await admin.patch(f"/image/v2/images/{image_id}", body=json.dumps(changes).encode(), headers={
            "content-type": "application/openstack-images-v2.1-json-patch"})
        assert answer.status == 200, answer.body
        await open_door(admin, network_id)
        server = await boot(admin, network_id, key, name="my-debian", flavorRef="d1", imageRef=image_id,
                            user_data=base64.b64encode(USER_DATA.encode()).decode())
        try:
            await wait_console(admin, server["id"], "my-debian login:", deadline_s=300)
            ssh = Ssh(host, network_id, key)
            told = await ssh(f"debian@{server['address']}", "cloud-init status --wait --format json ||"
                             " sudo grep -E -A 9 'WARNING|ERROR|Traceback' /var/log/cloud-init.log", 240)
            status = json.loads(told)
            assert (status["status"], status["errors"]) == ("done", []), told
            assert status["datasource"].startswith("openstack")
            said = await ssh(f"debian@{server['address']}",
                             "hostname; sudo cat /etc/written-by-user-data /run/ran-by-user-data; ip -o addr;"
                             "df -m --output=size / | tail -1; cloud-init query ds.meta_data.uuid")
            await check_agent(admin, server, ssh)
        finally:
            await admin.delete(f"/compute/v2.1/servers/{server['id']}")
        name, written, ran, *addresses, size, uuid = said.splitlines()
        assert (name, written, ran) == ("my-debian", "written", "ran as root")
        assert any(f"inet {server['address']}/24" in line for line in addresses)
        assert any(f"inet6 {server['address6']}/" in line for line in addresses), "no address by DHCPv6"
        assert int(size) > 4000, "the root file system did not grow to the flavor's disk"
        assert uuid == server["id"]


async def check_agent(admin: Client, server: dict[str, Any], ssh: Ssh) -> None:
    """QEMU's own agent: a password, and a snapshot that its image allows only of a guest that stands still."""
    action, door = f"/compute/v2.1/servers/{server['id']}/action", f"debian@{server['address']}"
    answer = await admin.post(action, {"changePassword": {"adminPass": "a new one"}})
    assert answer.status == 202, answer.body
    answer = await admin.post(action, {"createImage": {"name": "still"}}, headers=VERSION)
    assert answer.status == 202, answer.body
    until, image = time.monotonic() + 120, {"status": "queued"}
    while image["status"] != "active":
        assert time.monotonic() < until, image
        await asyncio.sleep(0.5)
        image = (await admin.get(f"/image/v2/images/{answer.json()['image_id']}")).json()
    said = await ssh(door, "sudo passwd --status debian | cut -d ' ' -f 2; sudo journalctl -o cat -t qemu-ga;"
                           "sudo touch /after && echo goes on")
    assert said.splitlines()[0] == "P" and said.splitlines()[-1] == "goes on", said
    assert "guest-fsfreeze called" in said, said


async def test_tiny_guests_by_service_and_by_config_drive(host: Host, image_cache: Path, key: Path) -> None:
    """What one guest reads by HTTP and IPv6, cannot get of the other, and what only a config drive tells."""
    built = await asyncio.to_thread(build_tiny, image_cache)
    script = base64.b64encode(b"#!/bin/sh\necho told to say $(hostname)\n").decode()
    async with RealCloud(host) as cloud:
        admin = await cloud.login("admin")
        image_id, network_id = await upload(admin, built), await make_network(admin)
        six = {"network_id": network_id, "ip_version": 6, "cidr": "fd00:7::/64", "enable_dhcp": False}
        assert (await admin.post("/networking/v2.0/subnets", {"subnet": six})).status == 201
        await open_door(admin, network_id)
        plain, driven = await asyncio.gather(
            boot(admin, network_id, key, name="plain", flavorRef="c1", imageRef=image_id, user_data=script),
            boot(admin, network_id, key, name="driven", flavorRef="c1", imageRef=image_id, config_drive=True,
                 adminPass="pass-of-the-order"))
        try:
            await wait_console(admin, plain["id"], "told to say plain", deadline_s=120)
            ssh = Ssh(host, network_id, key)
            url = "http://169.254.169.254/openstack/latest"
            forged = f"--header 'X-Instance-ID: {driven['id']}' --header 'X-Forwarded-For: {driven['address']}'"
            said = await ssh(f"cirros@{plain['address']}", f"hostname; lsblk -dn -o NAME; curl -s {url}/meta_data.json;"
                             f"echo; wget -q -O - {forged} {url}/meta_data.json; echo;"
                             f"curl -s -d encrypted== {url}/password")
            name, disks, by_http, by_forged = said.split("\n")[:4]
            assert (name, disks) == ("plain", "vda")
            assert json.loads(by_http)["uuid"] == json.loads(by_forged)["uuid"] == plain["id"]
            assert "admin_pass" not in json.loads(by_http)
            told = await admin.get(f"/compute/v2.1/servers/{plain['id']}/os-server-password", headers=VERSION)
            assert told.json() == {"password": "encrypted=="}

            by_ipv6 = await ssh(f"cirros@{plain['address']}", "{ printf 'GET /openstack/latest/meta_data.json HTTP/1.0"
                                "\\r\\n\\r\\n'; sleep 2; } | nc fe80::a9fe:a9fe%eth0 80 | tail -n 1")
            assert json.loads(by_ipv6)["uuid"] == plain["id"]

            # under another's address nothing comes back
            spoof = (f"sudo ip addr add {driven['address']}/32 dev eth0; printf 'GET /latest/meta-data/ HTTP/1.0"
                     f"\\r\\n\\r\\n' | timeout 5 nc -s {driven['address']} 169.254.169.254 80; echo end $?")
            assert (await ssh(f"cirros@{plain['address']}", spoof)).startswith("end ")

            read = ("sudo mount -o ro $(sudo blkid -t LABEL=config-2 -o device) /mnt;"
                    "cat /mnt/openstack/latest/meta_data.json")
            on_drive = json.loads(await ssh(f"cirros@{driven['address']}", read))
            assert on_drive["uuid"] == driven["id"] and on_drive["admin_pass"] == "pass-of-the-order"
            assert driven["adminPass"] == "pass-of-the-order"
            assert "password-done" in await ssh(f"cirros@{driven['address']}", "ls /var/lib/cloudseed")
        finally:
            for one in (plain, driven):
                await admin.delete(f"/compute/v2.1/servers/{one['id']}")
