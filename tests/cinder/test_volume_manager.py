"""The volume manager, asked over the bus; the host pretends exports and keeps real files."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cinder.volume.errors import ImageRefused
from cloudseed.host.errors import HostError
from cloudseed.host.records import ByteSource
from cloudseed.kernel.errors import Conflict, Invalid, NoSpace, NotFound, Timeout, Unavailable
from tests.cinder.managers import GIB, MIB, Managers, new_id, running
from tests.support.cloud import Client


@pytest.fixture
async def managers(tmp_path: Path) -> AsyncIterator[Managers]:
    async with running(tmp_path) as found:
        yield found


async def new_image(client: Client, data: bytes | None = None, disk_format: str = "raw") -> str:
    order = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
    image_id = str((await client.post("/image/v2/images", order)).json()["id"])
    if data is not None:
        headers = {"Content-Type": "application/octet-stream"}
        assert (await client.put(f"/image/v2/images/{image_id}/file", body=data, headers=headers)).status == 204
    return image_id


async def test_made_grown_copied_reverted_deleted(managers: Managers) -> None:
    volume_id = new_id()
    answers = await asyncio.gather(*(managers.ask("create_volume", volume_id=volume_id, size_gib=1) for _ in range(3)))
    assert answers[0] == {"size_bytes": GIB, "bootable": False, "image_metadata": None}
    await managers.write(volume_id, 0, b"one")
    snapshot_id, clone, old = new_id(), new_id(), new_id()
    for _ in range(2):
        await managers.ask("create_snapshot", snapshot_id=snapshot_id, volume_id=volume_id)
    await managers.write(volume_id, 0, b"two")
    await managers.ask("create_volume", volume_id=clone, size_gib=1, source={"kind": "volume", "id": volume_id})
    source = {"kind": "snapshot", "id": snapshot_id, "volume_id": volume_id}
    await managers.ask("create_volume", volume_id=old, size_gib=2, source=source)
    for _ in range(2):
        await managers.ask("extend_volume", volume_id=volume_id, size_gib=3)
        await managers.ask("revert_to_snapshot", volume_id=volume_id, snapshot_id=snapshot_id)
    found = [(await managers.data(i))[0][:3] for i in (volume_id, clone, old)]
    assert found == [b"one", b"two", b"one"]
    report = await managers.host.list_volumes()
    assert sorted(v.size_bytes // GIB for v in report.volumes) == [1, 2, 3]
    with pytest.raises(Invalid, match="can grow"):
        await managers.ask("extend_volume", volume_id=volume_id, size_gib=1)
    for _ in range(2):
        await managers.ask("delete_snapshot", snapshot_id=snapshot_id, volume_id=volume_id)
        for i in (volume_id, clone, old):
            await managers.ask("delete_volume", volume_id=i)
    report = await managers.host.list_volumes()
    assert (report.volumes, report.snapshots) == ([], [])


async def test_exports_come_back_and_none_is_ended_unasked(managers: Managers) -> None:
    volume_id, attachment_id, other = await managers.new_volume(), new_id(), new_id()
    arguments = {"volume_id": volume_id, "attachment_id": attachment_id, "read_only": False, "connector": {"host": ""}}
    info = await managers.ask("export", **arguments)
    assert info == await managers.ask("export", **arguments)
    assert info["driver_volume_type"] == "nbd"
    expected = {"volume_id": volume_id, "export": attachment_id, "format": "raw", "access_mode": "rw",
                "discard": True, "encrypted": False}
    assert expected.items() <= info["data"].items()
    with pytest.raises(Conflict):
        await managers.ask("delete_volume", volume_id=volume_id)
    managers.wish = [{"volume_id": volume_id, "attachment_id": other, "read_only": True},
                     {"volume_id": new_id(), "attachment_id": new_id(), "read_only": True}]
    await managers.volume.sync_exports()
    found = (await managers.host.list_volumes()).volumes[0].exports
    assert {e.attachment_id: e.read_only for e in found} == {attachment_id: False, other: True}
    for _ in range(2):
        await managers.ask("unexport", volume_id=volume_id, attachment_id=attachment_id)
    found = (await managers.host.list_volumes()).volumes[0].exports
    assert [e.attachment_id for e in found] == [other]
    with pytest.raises(Invalid, match="cannot reach"):
        await managers.ask("export", **{**arguments, "connector": {"host": "elsewhere"}})


async def test_reports_what_it_has(managers: Managers) -> None:
    await managers.new_volume(3)
    await managers.volume.report()
    await managers.backup.report()
    first, second = managers.reports
    assert (first["binary"], second["binary"]) == ("cinder-volume", "cinder-backup")
    assert first["capabilities"]["allocated_capacity_gb"] == 3
    assert 0 < first["capabilities"]["free_capacity_gb"] < first["capabilities"]["total_capacity_gb"]


@pytest.mark.parametrize("format", ["raw", "qcow2"])
async def test_image_to_volume_and_back(managers: Managers, tmp_path: Path, format: str) -> None:
    admin = await managers.cloud.login("admin")
    raw, file = tmp_path / "raw", tmp_path / "file"
    raw.write_bytes(bytes(MIB) + b"image" * 1000 + bytes(2 * MIB - 5000))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", format, str(raw), str(file)], check=True)
    image_id = await new_image(admin, file.read_bytes(), format)
    volume_id = new_id()
    for _ in range(2):
        answer = await managers.ask("create_volume", volume_id=volume_id, size_gib=1,
                                    source={"kind": "image", "id": image_id})
        assert answer["bootable"]
    assert await managers.data(volume_id) == {1: b"image" * 1000}
    attachment_id, volume_id = new_id(), new_id()
    # a small one, since glance hashes every byte
    await managers.host.create_volume(volume_id, 8 * MIB, ByteSource(kind="image", id=image_id))
    for in_use in (False, True):
        if in_use:
            await managers.ask("export", volume_id=volume_id, attachment_id=attachment_id, read_only=False)
        target = await new_image(admin, None, format)
        for _ in range(2):
            await managers.ask("copy_to_image", volume_id=volume_id, image_id=target, disk_format=format,
                               container_format="bare")
        image = (await admin.get(f"/image/v2/images/{target}")).json()
        assert (image["status"], image["disk_format"]) == ("active", format)
        again = new_id()
        await managers.ask("create_volume", volume_id=again, size_gib=1, source={"kind": "image", "id": target})
        assert await managers.data(again) == {1: b"image" * 1000}
        if format == "raw":
            assert image["size"] == 8 * MIB
    report = await managers.host.list_volumes()
    assert (report.snapshots, report.packs) == ([], [])
    assert list(managers.host.paths.incoming.iterdir()) == []


async def test_images_that_cannot_be_volumes(managers: Managers) -> None:
    admin = await managers.cloud.login("admin")

    async def make(image_id: str) -> Any:
        volume_id = new_id()
        try:
            await managers.ask("create_volume", volume_id=volume_id, size_gib=1,
                               source={"kind": "image", "id": image_id})
        finally:
            assert (await managers.host.list_volumes()).volumes == []
            assert not managers.host.paths.incoming.exists() or not list(managers.host.paths.incoming.iterdir())

    with pytest.raises(NotFound, match="could not be found"):
        await make(new_id())
    with pytest.raises(ImageRefused, match="queued"):
        await make(await new_image(admin))
    with pytest.raises(ImageRefused, match="ami"):
        await make(await new_image(admin, None, "ami"))


async def test_what_cannot_become_an_image(managers: Managers) -> None:
    admin = await managers.cloud.login("admin")
    volume_id = await managers.new_volume()
    image_id = await new_image(admin)
    arguments = {"volume_id": volume_id, "image_id": image_id, "container_format": "bare"}
    with pytest.raises(Invalid, match="vmdk"):
        await managers.ask("copy_to_image", **arguments, disk_format="vmdk")
    await admin.delete(f"/image/v2/images/{image_id}")
    with pytest.raises(NotFound):
        await managers.ask("copy_to_image", **arguments, disk_format="raw")


@pytest.mark.parametrize(
    ("code", "error"),
    [("unavailable", Unavailable), ("timeout", Timeout), ("no_space", NoSpace), ("conflict", Conflict)])
async def test_the_hosts_errors_are_cinders(managers: Managers, monkeypatch: pytest.MonkeyPatch, code: Any,
                                            error: type[Exception]) -> None:
    async def refuse(*arguments: Any) -> None:
        raise HostError(code, "as the test wants it")

    monkeypatch.setattr(managers.host, "create_volume", refuse)
    with pytest.raises(error, match="as the test wants it"):
        await managers.new_volume()
