"""Backups: what they hold, what a chain restores, what is left of one that failed."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cinder.backup import layout
from cloudseed.cinder.backup.work import BackupDamaged
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from tests.cinder.managers import MIB, Managers, new_id, running
from tests.support.cloud import Client


@pytest.fixture
async def managers(tmp_path: Path) -> AsyncIterator[Managers]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def owner(managers: Managers) -> Client:
    return await managers.cloud.new_project("owner")


def project(owner: Client) -> str:
    return str(owner.info["project"]["id"])


async def objects(owner: Client, container: str = "volumebackups") -> dict[str, int]:
    answer = await owner.get(f"/object-store/v1/AUTH_{project(owner)}/{container}?format=json")
    return {entry["name"]: entry["bytes"] for entry in answer.json()} if answer.status == 200 else {}


async def back_up(managers: Managers, owner: Client, volume_id: str, parent: dict[str, Any] | None = None,
                  **more: Any) -> str:
    backup_id = new_id()
    await managers.ask("create_backup", backup_id=backup_id, volume_id=volume_id, project_id=project(owner),
                       parent=parent, **more)
    return backup_id


async def restore(managers: Managers, owner: Client, backup_id: str, backup_volume_id: str, volume_id: str) -> None:
    await managers.ask("restore_backup", backup_id=backup_id, volume_id=volume_id,
                       backup_volume_id=backup_volume_id, project_id=project(owner))


async def test_full_and_incremental_restore_what_was_there(managers: Managers, owner: Client) -> None:
    volume_id = await managers.new_volume()
    first, second = os.urandom(MIB), os.urandom(40 * MIB)
    await managers.write(volume_id, 5 * MIB, first)
    for n in range(40):
        await managers.write(volume_id, (100 + n) * MIB, second[n * MIB: (n + 1) * MIB])
    await managers.write(volume_id, 700 * MIB + 5, b"odd")
    before = await managers.data(volume_id)
    full = await back_up(managers, owner, volume_id)
    known = await objects(owner)
    assert sum(known.values()) < 43 * MIB
    assert all(name.startswith(f"volume_{volume_id}/backup_{full}/") for name in known)
    # changed, gone and new since
    await managers.write(volume_id, 100 * MIB, b"changed")
    await managers.host.write_volume(volume_id, 5 * MIB, zero_bytes=MIB)
    await managers.write(volume_id, 900 * MIB, b"new")
    after = await managers.data(volume_id)
    more = await back_up(managers, owner, volume_id, {"id": full, "volume_id": volume_id})
    added = {name: size for name, size in (await objects(owner)).items() if name not in known}
    assert sum(size for name, size in added.items() if name.rpartition("/")[2].isdigit()) < 2 * MIB
    for backup_id, wanted in ((full, before), (more, after)):
        target = await managers.new_volume(2)
        await managers.write(target, 1500 * MIB, b"of its past")
        for _ in range(2):
            await restore(managers, owner, backup_id, volume_id, target)
        assert await managers.data(target) == wanted


async def test_asked_twice_is_one_backup(managers: Managers, owner: Client) -> None:
    volume_id, backup_id = await managers.new_volume(), new_id()
    await managers.write(volume_id, 0, b"x" * MIB)
    order = {"backup_id": backup_id, "volume_id": volume_id, "project_id": project(owner)}
    answers = await asyncio.gather(*(managers.ask("create_backup", **order) for _ in range(3)))
    answers.append(await managers.ask("create_backup", **order))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["size"] == 1
    assert answers[0]["object_count"] == len(await objects(owner)) == 3


async def test_a_volume_in_use_is_backed_up_as_it_is_at_one_moment(managers: Managers, owner: Client) -> None:
    volume_id = await managers.new_volume()
    await managers.write(volume_id, 0, b"x" * MIB)
    await managers.ask("export", volume_id=volume_id, attachment_id=new_id(), read_only=False)
    backup_id = await back_up(managers, owner, volume_id)
    assert (await managers.host.list_volumes()).snapshots == []
    target = await managers.new_volume()
    await restore(managers, owner, backup_id, volume_id, target)
    assert await managers.data(target) == {0: b"x" * MIB}
    with pytest.raises(Conflict, match="attached"):
        await restore(managers, owner, backup_id, volume_id, volume_id)


async def test_a_snapshot_is_backed_up(managers: Managers, owner: Client) -> None:
    volume_id, snapshot_id = await managers.new_volume(), new_id()
    await managers.write(volume_id, 0, b"old" + bytes(MIB - 3))
    await managers.ask("create_snapshot", snapshot_id=snapshot_id, volume_id=volume_id)
    await managers.write(volume_id, 0, b"new")
    backup_id = await back_up(managers, owner, volume_id, snapshot_id=snapshot_id)
    await restore(managers, owner, backup_id, volume_id, volume_id)
    assert (await managers.data(volume_id))[0].startswith(b"old")
    assert len((await managers.host.list_volumes()).snapshots) == 1


async def test_deleting_removes_every_object_of_it_and_no_other(managers: Managers, owner: Client) -> None:
    volume_id = await managers.new_volume()
    await managers.write(volume_id, 0, b"x" * MIB)
    kept, gone = await back_up(managers, owner, volume_id), await back_up(managers, owner, volume_id)
    for _ in range(2):
        await managers.ask("delete_backup", backup_id=gone, volume_id=volume_id, project_id=project(owner))
    assert len(found := await objects(owner)) == 3
    assert all(kept in name for name in found)
    with pytest.raises(BackupDamaged):
        await restore(managers, owner, gone, volume_id, volume_id)


async def test_what_was_begun_and_killed_is_begun_anew(managers: Managers, owner: Client) -> None:
    """Rubbish of a killed attempt is gone after the next; so is a failed attempt's."""
    volume_id, backup_id = await managers.new_volume(), new_id()
    await managers.write(volume_id, 0, b"x" * MIB)
    where = f"/object-store/v1/AUTH_{project(owner)}/volumebackups"
    await owner.put(where)
    for name in ("00001", "00777"):
        assert (await owner.put(f"{where}/{layout.prefix(volume_id, backup_id)}{name}", body=b"half")).status == 201
    order = {"backup_id": backup_id, "volume_id": volume_id, "project_id": project(owner)}
    with pytest.raises(NotFound, match="parent"):
        await managers.ask("create_backup", **order, parent={"id": new_id(), "volume_id": volume_id})
    assert await objects(owner) == {}
    await managers.ask("create_backup", **order)
    assert len(await objects(owner)) == 3


@pytest.mark.parametrize("harm", ["other bytes", "gone", "bomb"])
async def test_damage_is_found_before_it_is_restored(managers: Managers, owner: Client, harm: str) -> None:
    volume_id = await managers.new_volume()
    await managers.write(volume_id, 0, b"x" * MIB)
    backup_id = await back_up(managers, owner, volume_id)
    path = f"/object-store/v1/AUTH_{project(owner)}/volumebackups/{layout.prefix(volume_id, backup_id)}00001"
    if harm == "gone":
        await owner.delete(path)
    else:
        await owner.put(path, body=b"y" * 100 if harm == "other bytes" else zlib.compress(bytes(64 * MIB)))
    with pytest.raises(BackupDamaged, match="00001"):
        await restore(managers, owner, backup_id, volume_id, volume_id)


HARMS: dict[str, Any] = {
    "another account": {"parent": "../../AUTH_victim/volumebackups/volume_x/backup_y/"},
    "itself": {"parent": "self"}, "another container's object": {"extents": [
        {"offset": 0, "length": MIB, "name": "../../../secret/00001", "sha256": "0" * 64}]},
    "all of our memory": {"extents": [{"offset": 0, "length": 1 << 40, "name": "00001", "sha256": "0" * 64}]},
    "before the volume": {"extents": [{"offset": -MIB, "length": MIB}]},
    "no end": {"extents": [{"offset": 0, "length": -1}]}, "another backup": {"backup_id": "self's"},
    "no volume": {"size_bytes": 1 << 70}, "large": {"parent": "x" * (layout.MAX_MANIFEST_BYTES + 1)}}


@pytest.mark.parametrize("harm", HARMS)
async def test_what_the_owner_made_of_a_manifest_leads_nowhere(managers: Managers, owner: Client, harm: str) -> None:
    """The objects are the user's, and are read with rights on everybody's."""
    volume_id = await managers.new_volume()
    await managers.write(volume_id, 0, b"x" * MIB)
    backup_id = await back_up(managers, owner, volume_id)
    where = layout.prefix(volume_id, backup_id)
    path = f"/object-store/v1/AUTH_{project(owner)}/volumebackups/{where}metadata"
    manifest = {**(await owner.get(path)).json(), **HARMS[harm]}
    if manifest["parent"] == "self":
        manifest["parent"] = where
    await owner.put(path, body=json.dumps(manifest).encode())
    with pytest.raises(BackupDamaged, match="metadata"):
        await restore(managers, owner, backup_id, volume_id, volume_id)
    with pytest.raises(BackupDamaged, match="metadata"):
        await back_up(managers, owner, volume_id, {"id": backup_id, "volume_id": volume_id})


async def test_hashes_and_data_of_any_length_are_not_read(managers: Managers, owner: Client,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_HASHES_BYTES", 1000)
    monkeypatch.setattr(layout, "MAX_PACKED_BYTES", 5000)
    volume_id = await managers.new_volume()
    await managers.write(volume_id, 0, b"x" * MIB)
    backup_id = await back_up(managers, owner, volume_id)
    where = f"/object-store/v1/AUTH_{project(owner)}/volumebackups/{layout.prefix(volume_id, backup_id)}"
    for name in ("sha256file", "00001"):
        await owner.put(where + name, body=bytes(100_000))
    with pytest.raises(BackupDamaged, match="00001"):
        await restore(managers, owner, backup_id, volume_id, volume_id)
    with pytest.raises(BackupDamaged, match="sha256file"):
        await back_up(managers, owner, volume_id, {"id": backup_id, "volume_id": volume_id})


async def test_a_volume_too_small_or_not_there_is_refused(managers: Managers, owner: Client) -> None:
    volume_id = await managers.new_volume(2)
    backup_id = await back_up(managers, owner, volume_id)
    with pytest.raises(Invalid, match="fewer"):
        await restore(managers, owner, backup_id, volume_id, await managers.new_volume(1))
    for error in (NotFound, NotFound):
        with pytest.raises(error):
            await restore(managers, owner, backup_id, volume_id, new_id())
    with pytest.raises(CloudseedError):
        await back_up(managers, owner, new_id())
