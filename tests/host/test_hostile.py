"""What a control process that somebody else steers must not get out of root, nor a QEMU that its guest broke."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudseed.host import disks, images
from cloudseed.host.launch import Launcher
from cloudseed.host.paths import StatePaths, check_cidr, check_ip
from cloudseed.host.records import DiskSpec
from cloudseed.host.users import Users
from cloudseed.host.wire import connect
from tests.host.test_disks import MIB, create, image, paths, refused, server

__all__ = ["paths"]


@pytest.mark.parametrize("text", ["fe80::1%x\n1.2.3.4 evil", "fe80::%eth0", "fd00::%x } ; include \"x\"/64"])
def test_an_addresss_zone_reaches_no_file(text: str) -> None:
    """Python takes any text after a per cent sign, lines and braces too, and gives it back."""
    for check in (check_ip, check_cidr):
        with refused("invalid"):
            check(text, "an address")


@pytest.mark.real
def test_an_image_that_is_swapped_after_its_inspection(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is the control process's: what is moved into the cache must be what was looked at."""
    create(paths.incoming / "source", MIB)
    (paths.root / "secret").write_bytes(b"x" * 512)
    create(paths.incoming / "other", MIB, "-b", str(paths.root / "secret"), "-F", "raw")
    inspect = disks.inspect

    def swap(*args: Any, **options: Any) -> disks.ImageFacts:
        facts = inspect(*args, **options)
        os.replace(paths.incoming / "other", paths.incoming / "source")
        return facts

    monkeypatch.setattr(disks, "inspect", swap)
    with refused("invalid"):
        images.import_image(paths, "base", "source", "qcow2")
    assert images.list_images(paths) == [] and not paths.image("base").exists()


@pytest.mark.real
def test_what_is_inspected_is_what_was_opened(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is led elsewhere meanwhile leads qemu-img nowhere, and qemu-img is not root."""
    create(paths.incoming / "source", MIB)
    create(paths.root / "elsewhere", 2 * MIB)
    inspect, found = disks.inspect, []

    def lead_away(*args: Any, **options: Any) -> disks.ImageFacts:
        (paths.incoming / "source").unlink()
        (paths.incoming / "source").symlink_to(paths.root / "elsewhere")
        facts = inspect(*args, **options)
        found.append(facts.virtual_size)
        return facts

    monkeypatch.setattr(disks, "inspect", lead_away)
    with refused("invalid"):
        images.import_image(paths, "base", "source", "qcow2")
    assert found == [MIB] and not os.path.lexists(paths.image("base"))


@pytest.mark.real
def test_an_image_that_somebody_can_still_write(paths: StatePaths) -> None:
    create(paths.incoming / "source", MIB)
    with open(paths.incoming / "source", "rb+"), refused("invalid"):
        images.import_image(paths, "base", "source", "qcow2")
    create(paths.incoming / "source", MIB)
    assert images.import_image(paths, "base", "source", "qcow2").size_bytes == MIB
    assert paths.image("base").stat().st_mode & 0o777 == 0o400


@pytest.mark.real
def test_root_follows_no_disk_to_other_files(paths: StatePaths) -> None:
    """A QEMU may write what it likes into its own disk: another file as its data, or as the image below."""
    owner = server(paths)
    target = paths.root / "target"
    for options in (["-o", f"data_file={target},data_file_raw=on"], ["-b", str(target), "-F", "raw"]):
        if options[0] == "-b":
            target.write_bytes(b"\0" * MIB)
        create(paths.machine(owner).disk("root"), MIB, *options)
        disks.backing_record(paths.machine(owner).disk("root")).write_text("")
        before = target.stat().st_size
        with refused("failed"):
            disks.resize_file(paths, owner, "root", 4 * MIB)
        assert target.stat().st_size == before
        paths.machine(owner).disk("root").unlink()
        target.unlink()
    disks.remove(paths, owner, "root")
    image(paths)
    disks.create(paths, owner, "root", 8 * MIB, "base", "qcow2")
    assert disks.resize_file(paths, owner, "root", 16 * MIB).size_bytes == 16 * MIB
    found = paths.machine(owner).disk("root").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o600)


@pytest.mark.real
def test_a_disk_cannot_choose_another_image(paths: StatePaths) -> None:
    """What a broken-out QEMU writes into its header does not open another tenant's image at the next start."""
    owner = server(paths)
    image(paths)
    image(paths, "secret")
    disks.create(paths, owner, "root", 8 * MIB, "base", "qcow2")
    path = paths.machine(owner).disk("root")
    rebase = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", str(paths.image("secret")), str(path)]
    subprocess.run(rebase, check=True)
    launcher = Launcher("t", paths, 0, 0, Users())
    with ExitStack() as stack, refused("failed"):
        launcher.open_disk(stack, owner, DiskSpec(name="root"))
    with refused("failed"):
        disks.resize_file(paths, owner, "root", 16 * MIB)
    with refused("conflict"):
        images.remove_image(paths, "base")  # by our record it still stands on this one
    images.remove_image(paths, "secret")


@pytest.mark.real
async def test_guests_talk_to_the_control_process_and_nobody_else(tmp_path: Path) -> None:
    """The socket's directory is the control process's: it may lead the name to another service's socket."""
    heard = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            heard.set()
        writer.close()

    path = tmp_path / "metadata.sock"
    service = await asyncio.start_unix_server(hear, path)
    with pytest.raises(PermissionError):
        await connect(path, owner=os.getuid() + 60700)
    sock = await connect(path, owner=os.getuid())
    sock.close()
    assert not heard.is_set()
    service.close()
    await service.wait_closed()
