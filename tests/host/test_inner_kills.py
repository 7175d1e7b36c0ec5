"""The host process dies at every point of its own work, and what it was asked for ends as if it had not.

What is asked for is the life of a machine, a network and a volume.  A first one is watched: which points does each
command pass (points.py), and what is there after it?  In the next ones it dies wherever it comes to a point that it has
not died at; it is started again and asked again, as its clients do, and after each command the same must be there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudseed.host.errors import HostError
from cloudseed.host.paths import namespace_name
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, MachineSpec
from tests.host.conftest import ANY_EGRESS, Host, network, new_id, port
from tests.host.frames import TapGuest
from tests.host.test_machines import nic_of
from tests.host.test_volumes import nbd
from tests.support.deaths import Deaths
from tests.support.long import long

pytestmark = pytest.mark.real
MIB = 1024 * 1024
TRIES = 1000
Step = Callable[[], Awaitable[object]]
Passed = dict[str, list[str]]


class Mortal:
    """A host process that is started again when it dies, and asked again."""

    def __init__(self, host: Host, deaths: Deaths) -> None:
        self.host, self.deaths = host, deaths

    async def ask(self, step: Step) -> None:
        for _ in range(TRIES):
            try:
                await step()
                return
            except HostError as exc:
                if exc.code != "unavailable":
                    raise
                await self._revive()
        pytest.fail("it is asked for ever")

    async def _revive(self) -> None:
        process = self.host.process
        assert process is not None
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            return  # it lives: it is QEMU that does not answer
        for _ in range(TRIES):
            try:
                await self.host.start()
                return
            except AssertionError:  # it died before it was ready
                assert self.host.process is not None and await self.host.process.wait() == -9


class Life:
    """A machine with a network and a volume, always by the same ids."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.server_id, self.volume_id, self.attachment_id, self.copy_id, self.snapshot_id = (
            new_id() for _ in range(5))
        self.wish = network(port(10, ANY_EGRESS))
        self.wider = msgspec.structs.replace(self.wish, ports=[
            *self.wish.ports, port(11, ANY_EGRESS), port(12, ANY_EGRESS, port_security_enabled=False)])
        self.volume = DiskSpec(name="volume", kind="volume", volume_id=self.volume_id,
                               attachment_id=self.attachment_id)
        self.first = MachineSpec(
            server_id=self.server_id, name="probe", vcpus=1, memory_mib=32, nics=[nic_of(self.wish)],
            disks=[DiskSpec(name="root"), DiskSpec(name="config", kind="config_drive", bus="ide")])

    @property
    def steps(self) -> dict[str, Step]:
        client = self.host.client
        whole = msgspec.structs.replace(self.first, disks=[*self.first.disks, self.volume],
                                        nics=[*self.first.nics, nic_of(self.wider, 1)])
        return {
            "network": lambda: client.apply_networks([self.wish], full=True),
            "image": self._image,
            "disk": lambda: client.create_disk(self.server_id, "root", 16 * MIB, "base", "qcow2", "us"),
            "drive": lambda: client.write_config_drive(self.server_id, {"openstack/latest/meta_data.json": b"{}"}),
            "start": lambda: client.ensure_machine(self.first),
            "ports": lambda: client.apply_networks([self.wider], full=True),
            "plug": lambda: client.attach_interface(self.server_id, nic_of(self.wider, 1)),
            "volume": lambda: client.create_volume(self.volume_id, 64 * MIB),
            "export": lambda: client.export_volume(self.volume_id, self.attachment_id),
            "attach": lambda: client.attach_disk(self.server_id, self.volume),
            "grow": lambda: client.extend_volume(self.volume_id, 128 * MIB),
            "tell": lambda: client.resize_disk(self.server_id, "volume", 128 * MIB),
            "snapshot": lambda: client.create_snapshot(self.snapshot_id, self.volume_id),
            "copy": self._copy,
            "drop": lambda: client.drop_copy(self.server_id, self.copy_id),
            "pause": lambda: client.pause_machine(self.server_id, paused=True),
            "go on": lambda: client.pause_machine(self.server_id, paused=False),
            "suspend": lambda: client.suspend_machine(self.server_id),
            "resume": lambda: client.ensure_machine(whole),
            "stop": lambda: client.stop_machine(self.server_id, hard=True),
            "keep": lambda: client.keep_disks(self.server_id),
            "resize": lambda: client.resize_disk(self.server_id, "root", 32 * MIB),
            "restore": lambda: client.restore_disks(self.server_id),
            "start again": lambda: client.ensure_machine(whole),
            "narrow": lambda: client.apply_networks([self.wish], full=True),
            "remove": lambda: client.remove_machine(self.server_id),
            "unexport": lambda: client.unexport_volume(self.volume_id, self.attachment_id),
            "forget": lambda: client.delete_snapshot(self.snapshot_id),
            "delete": lambda: client.delete_volume(self.volume_id),
            "uncache": lambda: client.remove_image("base"),
            "unwire": lambda: client.apply_networks([], full=True),
        }

    async def _image(self) -> None:
        """As the agent does: the bytes again, when they are not where they were."""
        source = self.host.paths.incoming / "source"
        if not source.exists():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), str(8 * MIB)], check=True)
        await self.host.client.import_image("base", "source", "qcow2")

    async def _copy(self) -> None:
        while not (await self.host.client.copy_disk(self.server_id, "root", self.copy_id)).done:
            await asyncio.sleep(0.05)

    # ---- what is there

    async def picture(self) -> dict[str, Any]:
        """Of the host, without what is another one each time."""
        found = msgspec.to_builtins(await self.host.client.get_inventory())
        for name in ("dnsmasq_pids", "machine_pids", "exporter_pids"):
            found[name] = sorted(found[name])
        volumes = [(one.size_bytes, [(e.read_only, e.running) for e in one.exports])
                   for one in (await self.host.client.list_volumes()).volumes]
        machines = [(one.running, one.paused, one.suspended, one.owner)
                    for one in await self.host.client.list_machines()]
        rooms = sorted(str(path.relative_to(self.host.paths.root))
                       for top in (self.host.paths.volumes, self.host.paths.incoming) for path in top.rglob("*")
                       if path.is_file())
        return {**found, "volumes": volumes, "machines": machines, "more files": rooms, "wires": self._wires(),
                "devices": await self._devices(), "spec": self._spec()}

    def _wires(self) -> object:
        """The network as the kernel has it."""
        space = namespace_name(self.host.cloud, self.wish.network_id)
        if not Path("/run/netns", space).exists():
            return None
        links = {link["ifname"]: (link["mtu"], link.get("master"), "UP" in link["flags"],
                                  sorted(str(a["local"]) for a in link["addr_info"] if a["scope"] != "link"))
                 for link in json.loads(_inside(space, "ip", "-j", "address"))}
        return links, _inside(space, "nft", "-s", "list", "ruleset")

    async def _devices(self) -> object:
        """The machine as its QEMU has it."""
        path = self.host.paths.machine(self.server_id).qmp_socket
        try:
            async with QmpMonitor(path) as monitor:
                devices = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
                nodes = await monitor.execute("query-named-block-nodes")
                sets = await monitor.execute("query-fdsets")
                nets = await monitor.execute("human-monitor-command", {"command-line": "info network"})
                status = await monitor.status()
                jobs = await monitor.execute("query-jobs")
                volume = [node["image"]["virtual-size"] for node in nodes if node["drv"] == "nbd"]
        except HostError:
            return None
        return (sorted(item["name"] for item in devices), sorted(n["node-name"] for n in nodes
                if not n["node-name"].startswith("#")), sorted((s["fdset-id"], len(s["fds"])) for s in sets),
                sorted(line.split(":")[0].strip() for line in nets.splitlines()), status, jobs, volume)

    def _spec(self) -> object:
        """What is known of the machine's devices."""
        try:
            spec = json.loads(self.host.paths.machine(self.server_id).spec.read_bytes())
        except FileNotFoundError:
            return None
        return [disk["name"] for disk in spec["disks"]], [nic["port_id"] for nic in spec["nics"]]

    def dhcp_answers(self) -> bool:
        """A port that came later than the others."""
        with TapGuest(self.host.cloud, self.wish.network_id, self.wider.ports[2]) as guest:
            return guest.dhcp(1) is not None


def _inside(space: str, *command: str) -> str:
    return subprocess.run(["ip", "netns", "exec", space, *command], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deaths:
    made = Deaths(tmp_path / "deaths")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


async def live(life: Life, mortal: Mortal, armed: Passed) -> tuple[Passed, dict[str, Any], Passed]:
    """Every step; which points were passed, what was there after each, and where it died."""
    passed, pictures, died = Passed(), dict[str, Any](), Passed()
    for name, step in life.steps.items():
        mortal.deaths.listen()
        mortal.deaths.arm(armed.get(name, ()))
        await mortal.ask(step)
        passed[name] = [point for point in mortal.deaths.heard() if not point.startswith("host,start,")]
        died[name] = mortal.deaths.died()
        mortal.deaths.disarm()
        pictures[name] = await life.picture()
        if name == "ports":
            assert await asyncio.to_thread(life.dhcp_answers), died[name]
    return passed, pictures, died


async def compare(
    host: Host, deaths: Deaths, chosen: Callable[[str, str], bool], rounds: int
) -> tuple[Passed, Passed]:
    """Watch one life, then die at the chosen points in as many others; where could it, and where did it die?"""
    mortal, life = Mortal(host, deaths), Life(host)
    passed, expected, _ = await live(life, mortal, {})
    left = {name: [point for point in points if chosen(name, point)] for name, points in passed.items()}
    wanted = {name: list(points) for name, points in left.items()}
    died: dict[str, set[str]] = {name: set() for name in passed}
    for _ in range(rounds):
        _, found, where = await live(life, mortal, left)
        wrong = [(name, what, picture[what], value, where[name]) for name, picture in found.items()
                 for what, value in expected[name].items() if picture[what] != value]
        assert not wrong, "\n".join(map(str, wrong))
        died = {name: points | set(where[name]) for name, points in died.items()}
        left = {name: [point for point in points if point not in died[name]] for name, points in left.items()}
    return wanted, {name: sorted(points) for name, points in died.items()}


async def test_it_dies_at_some_points(deaths: Deaths, host: Host) -> None:
    """One of each command, which the names decide."""
    wanted, died = await compare(host, deaths, lambda name, point: zlib.crc32(point.encode()) % 12 == 0, 1)
    assert sum(map(len, died.values())) > 10, (wanted, died)


@pytest.mark.parametrize("point", ["remove *:memory", "tell QEMU cont", "remove *:memory.json"])
async def test_a_guest_that_was_suspended_goes_on(deaths: Deaths, host: Host, point: str) -> None:
    mortal, life = Mortal(host, deaths), Life(host)
    for name in ("network", "image", "disk", "drive", "start", "suspend"):
        await life.steps[name]()
    deaths.arm([f"host,EnsureMachine,{point}"])
    await mortal.ask(life.steps["start"])
    assert len(deaths.died()) == 1
    machine, = await host.client.list_machines()
    assert machine.running and not machine.paused and not machine.suspended


@pytest.mark.parametrize("point", ["send SIGTERM", "write *:data", "remove rw:nbd.sock"])
async def test_who_uses_a_volume_sees_it_grow(deaths: Deaths, host: Host, point: str) -> None:
    mortal, life = Mortal(host, deaths), Life(host)
    await life.steps["volume"]()
    await life.steps["export"]()
    deaths.arm([f"host,ExtendVolume,{point}"])
    await mortal.ask(life.steps["grow"])
    assert len(deaths.died()) == 1
    nbd(host, life.volume_id, life.attachment_id, "write -P 5 127M 1M")


async def test_disks_that_are_half_restored_leave_nothing(deaths: Deaths, host: Host) -> None:
    """A disk that was put back is put back once more, by a name that it has already."""
    mortal, life = Mortal(host, deaths), Life(host)
    for name in ("network", "image", "disk", "keep"):
        await life.steps[name]()
    deaths.listen()
    await life.steps["restore"]()
    points = [point for point in deaths.heard() if point.startswith("host,RestoreDisks,rename")]
    await life.steps["keep"]()
    expected = sorted(path.name for path in host.paths.machine(life.server_id).directory.rglob("*"))
    for point in points:
        deaths.arm([point])
        await mortal.ask(life.steps["restore"])
        assert deaths.died() == [point]
        deaths.disarm()
        await life.steps["keep"]()
        assert sorted(path.name for path in host.paths.machine(life.server_id).directory.rglob("*")) == expected
    assert len(points) > 2


@long
@pytest.mark.parametrize("half", [slice(0, 18), slice(18, None)], ids=["until suspended", "from then on"])
async def test_it_dies_at_every_point(deaths: Deaths, host: Host, half: slice) -> None:
    names = list(Life(host).steps)[half]
    wanted, died = await compare(host, deaths, lambda name, point: name in names, 2)
    for name in names:
        points = wanted[name]
        print(f"{name}: died at {len(died[name])} of {len(points)}; never at {sorted(set(points) - set(died[name]))}",
              file=sys.stderr)
    assert sum(map(len, died.values())) > 0.8 * sum(map(len, wanted.values()))
