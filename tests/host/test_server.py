"""The socket: who may ask, what a bad question gets, and what happens when the host process comes and goes."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import inventory
from cloudseed.host import records as r
from cloudseed.host.client import HostClient
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.wire import connect, frame, read_frame
from tests.host.conftest import Host, network, new_id

pytestmark = pytest.mark.real
CONTROL_UID, STRANGER_UID = 60711, 60712


async def exchange(host: Host, *bodies: bytes) -> list[r.Reply]:
    """Send frames with these bodies and read as many answers, fewer when the connection is closed."""
    reader, writer = await asyncio.open_unix_connection(sock=await connect(host.socket))
    try:
        for body in bodies:
            writer.write(frame(body))
        answers = []
        for _ in bodies:
            answer = await asyncio.wait_for(read_frame(reader), 5)
            if answer is None:
                break
            answers.append(msgspec.msgpack.decode(answer, type=r.Reply))
        return answers
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "request_",
    [
        {"id": 1, "command": {"type": "Shell", "words": ["ls"]}},
        {"id": 1, "command": {"type": "RemoveImage"}},
        {"id": 1, "command": {"type": "RemoveImage", "key": 7}},
        {"id": 1, "command": {"type": "ListImages", "extra": 1}},
        {"id": 1},
    ],
)
async def test_a_request_that_makes_no_sense_is_answered_and_the_next_one_served(
    host: Host, request_: dict[str, object]
) -> None:
    good = msgspec.msgpack.encode(r.Request(id=2, command=r.ListImages()))
    bad, fine = await exchange(host, msgspec.msgpack.encode(request_), good)
    assert bad.id == 1
    assert bad.error is not None
    assert bad.error.code == "invalid"
    assert fine.id == 2
    assert fine.error is None


async def test_noise_ends_the_connection_and_nothing_else(host: Host) -> None:
    answers = await exchange(host, b"\xc1\xff\x00", b"")
    assert all(answer.error is not None and answer.error.code == "invalid" for answer in answers)
    assert await host.client.list_images() == []


async def test_a_frame_beyond_the_limit_is_not_read(host: Host) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=await connect(host.socket))
    writer.write(b"\xff\xff\xff\xff")
    answer = await asyncio.wait_for(read_frame(reader), 5)
    assert answer is not None
    assert b"limit" in answer
    assert await asyncio.wait_for(read_frame(reader), 5) is None
    writer.close()
    await writer.wait_closed()
    assert await host.client.list_images() == []


async def test_a_caller_that_goes_away_mid_question_hurts_nobody(host: Host) -> None:
    _, writer = await asyncio.open_unix_connection(sock=await connect(host.socket))
    writer.write(frame(msgspec.msgpack.encode(r.Request(id=1, command=r.GetFacts())))[:-3])
    writer.close()
    await writer.wait_closed()
    assert (await host.client.get_facts()).cpus >= 1


async def test_many_questions_at_once(host: Host) -> None:
    answers = await asyncio.gather(*(host.client.list_machines() for _ in range(100)))
    assert answers == [[]] * 100


async def test_facts(host: Host) -> None:
    facts = await host.client.get_facts()
    assert facts.memory_mib > facts.memory_available_mib > 0
    assert facts.disk_total_gib >= facts.disk_free_gib > 0
    assert facts.qemu_version is not None
    assert facts.accel in ("kvm", "tcg")
    assert facts.accel_reason
    assert facts.problems == []


async def test_the_client_finds_a_new_host_process(host: Host) -> None:
    assert await host.client.list_machines() == []
    await host.kill()
    with pytest.raises(HostError) as caught:
        await host.client.list_machines()
    assert caught.value.code == "unavailable"
    await host.start()
    assert await host.client.list_machines() == []


async def test_a_command_whose_host_process_dies_is_told_so(host: Host) -> None:
    wishes = [network() for _ in range(20)]
    asking = asyncio.create_task(host.client.apply_networks(wishes, full=True))
    while not (await host.client.get_inventory()).namespaces:
        await asyncio.sleep(0.01)
    await host.kill()
    with pytest.raises(HostError) as caught:
        await asking
    assert caught.value.code == "unavailable"
    await host.start()
    result = await host.client.apply_networks(wishes, full=True)
    assert not [n.error for n in result.networks if n.error]
    assert len((await host.client.get_inventory()).dnsmasq_pids) == 20
    assert (await host.client.get_inventory()).strays == []


async def test_a_second_host_process_on_one_socket_refuses(host: Host) -> None:
    second = Host(host.cloud, host.paths)
    with pytest.raises(AssertionError):
        await second.start()
    assert second.process is not None
    assert await second.process.wait() == 1
    assert await host.client.list_machines() == []


async def test_a_client_without_a_host_process(tmp_path: Path) -> None:
    client = HostClient(tmp_path / "nobody.sock")
    with pytest.raises(HostError, match="is it running") as caught:
        await client.get_facts()
    assert caught.value.code == "unavailable"
    await client.close()


@pytest.fixture
def open_state(cloud: str) -> Iterator[StatePaths]:
    """A state directory below one that every user may pass, as /var/lib is."""
    top = Path(tempfile.mkdtemp(prefix="cloudseed-test-"))
    top.chmod(0o711)
    paths = StatePaths(top / "state")
    yield paths
    inventory.purge(cloud, paths)
    shutil.rmtree(top)


ATTEMPT = """
import socket, sys
for path in sys.argv[1:]:
    try:
        if path.endswith('.log'):
            open(path).read()
        else:
            s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(5)
            if path.endswith(('qmp.sock', 'vnc.sock')): assert s.recv(1)
            if path.endswith('host.sock') and 'machines' not in path:
                s.sendall(bytes([0, 0, 0, 1, 0])); assert s.recv(1)
        print('yes')
    except (OSError, AssertionError):
        print('no')
"""


async def test_the_control_user_reaches_its_machine_and_nobody_else_does(cloud: str, open_state: StatePaths) -> None:
    host = Host(cloud, open_state, uid=CONTROL_UID)
    await host.start()
    try:
        server_id = new_id()
        await host.client.create_disk(server_id, "root", 1 << 20)
        spec = r.MachineSpec(server_id=server_id, name="x", vcpus=1, memory_mib=32, disks=[r.DiskSpec(name="root")])
        info = await host.client.ensure_machine(spec)
        machine = open_state.machine(server_id)
        own = [machine.qmp_socket, machine.serial_socket, machine.vnc_socket, machine.console_log, host.socket]
        assert await attempt(CONTROL_UID, own) == ["yes"] * 5
        assert await attempt(STRANGER_UID, own) == ["no"] * 5
        # the host process's own monitor, and the disk, are not the control user's
        assert await attempt(CONTROL_UID, [machine.host_qmp_socket]) == ["no"]
        # the control user passes through the state directory and changes nothing in it: root runs what lies there
        root = open_state.root.stat()
        assert (root.st_mode & 0o777, root.st_uid, root.st_gid) == (0o710, 0, CONTROL_UID)
        assert info.running
        await host.client.purge()
    finally:
        await host.stop()


async def attempt(uid: int, paths: list[Path]) -> list[str]:
    """Which of these that user can connect to or read."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["/usr/bin/python3", "-c", ATTEMPT, *map(str, paths)],
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return done.stdout.split()


def test_it_says_when_it_is_not_root(tmp_path: Path) -> None:
    program = (
        "import os; os.geteuid = lambda: 1000\n"
        "from cloudseed.host.server import main\n"
        "raise SystemExit(main(['--state', 'x', '--socket', 'y', '--uid', '0', '--gid', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "root" in done.stderr
