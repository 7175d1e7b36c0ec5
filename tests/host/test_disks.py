"""Disks and the image cache."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cloudseed.host import disks, images
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from tests.host.conftest import new_id

MIB = 1024 * 1024
pytestmark = pytest.mark.real  # imports give files to root


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    made = StatePaths(tmp_path)
    made.incoming.mkdir(parents=True)
    made.machines.mkdir()
    return made


def image(paths: StatePaths, key: str = "base", size: int = 8 * MIB, *options: str) -> None:
    create(paths.incoming / "source", size, *options)
    images.import_image(paths, key, "source", "qcow2")


def create(path: Path, size: int, *options: str, format: str = "qcow2") -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", format, *options, str(path), str(size)], check=True)


def server(paths: StatePaths) -> str:
    server_id = new_id()
    paths.machine(server_id).directory.mkdir()
    return server_id


def refused(code: str) -> pytest.RaisesExc[HostError]:
    return pytest.raises(HostError, check=lambda exc: exc.code == code)


def test_a_disk_stands_on_its_image_and_is_made_once(paths: StatePaths) -> None:
    image(paths)
    owner = server(paths)
    made = disks.create(paths, owner, "root", 20 * MIB, "base", "qcow2")
    assert (made.size_bytes, made.backing, made.format) == (20 * MIB, "base", "qcow2")
    inode = paths.machine(owner).disk("root").stat().st_ino
    assert disks.create(paths, owner, "root", 20 * MIB, "base", "qcow2") == made
    assert paths.machine(owner).disk("root").stat().st_ino == inode
    paths.machine(owner).disk("root").chmod(0o444)  # it is inspected as nobody
    with open(paths.machine(owner).disk("root"), "rb") as file:
        facts = disks.inspect(file.fileno(), "root", "qcow2")
    assert facts.backing_filename == str(paths.image("base"))


def test_a_disk_is_as_large_as_its_image_when_no_size_is_given(paths: StatePaths) -> None:
    image(paths)
    assert disks.create(paths, server(paths), "root", 0, "base", None).size_bytes == 8 * MIB


def test_a_disk_too_small_for_its_image_is_refused(paths: StatePaths) -> None:
    image(paths)
    with refused("invalid"):
        disks.create(paths, server(paths), "root", MIB, "base", None)


def test_a_disk_on_an_absent_image_is_refused(paths: StatePaths) -> None:
    owner = server(paths)
    with refused("not_found"):
        disks.create(paths, owner, "root", MIB, "absent", None)
    assert not paths.machine(owner).disk("root").exists()


def test_a_disk_of_another_image_is_not_taken_for_it(paths: StatePaths) -> None:
    image(paths)
    image(paths, "other")
    owner = server(paths)
    disks.create(paths, owner, "root", 0, "base", None)
    with refused("conflict"):
        disks.create(paths, owner, "root", 0, "other", None)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 65, "a\n", ".x"])
def test_names_that_are_no_names(paths: StatePaths, name: str) -> None:
    with refused("invalid"):
        disks.create(paths, server(paths), name, MIB, None, None)


def test_disks_grow_and_do_not_shrink(paths: StatePaths) -> None:
    owner = server(paths)
    disks.create(paths, owner, "data", 8 * MIB, None, None)
    assert disks.resize_file(paths, owner, "data", 16 * MIB).size_bytes == 16 * MIB
    for size in (8 * MIB, 16 * MIB + 1, 2**60):
        with refused("invalid"):
            disks.resize_file(paths, owner, "data", size)
    with refused("not_found"):
        disks.resize_file(paths, owner, "absent", 16 * MIB)


def test_an_image_in_use_stays(paths: StatePaths) -> None:
    image(paths)
    owner = server(paths)
    disks.create(paths, owner, "root", 0, "base", None)
    with refused("conflict"):
        images.remove_image(paths, "base")
    disks.remove(paths, owner, "root")
    images.remove_image(paths, "base")
    images.remove_image(paths, "base")
    assert images.list_images(paths) == []
    assert [p.name for p in paths.images.iterdir()] == ["incoming"]


def test_the_first_of_a_key_wins(paths: StatePaths) -> None:
    image(paths, size=8 * MIB)
    create(paths.incoming / "second", 16 * MIB)
    kept = images.import_image(paths, "base", "second", "qcow2")
    assert kept.size_bytes == 8 * MIB
    assert list(paths.incoming.iterdir()) == []
    assert paths.image("base").stat().st_mode & 0o222 == 0


def test_an_image_that_refers_to_other_files_is_refused(paths: StatePaths, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * MIB)
    create(paths.incoming / "backed", MIB, "-b", str(secret), "-F", "raw")
    with pytest.raises(HostError, match="backing file"):
        images.import_image(paths, "a", "backed", "qcow2")
    data = f"data_file={tmp_path}/data.raw,data_file_raw=on"
    create(paths.incoming / "split", MIB, "-o", data)
    with pytest.raises(HostError, match="data file"):
        images.import_image(paths, "b", "split", "qcow2")
    assert images.list_images(paths) == []


def test_a_file_of_another_format_is_refused(paths: StatePaths) -> None:
    (paths.incoming / "noise").write_bytes(os.urandom(70000))
    with refused("invalid"):
        images.import_image(paths, "a", "noise", "qcow2")


def test_a_raw_image_is_raw_whatever_it_looks_like(paths: StatePaths, tmp_path: Path) -> None:
    create(paths.incoming / "trap", MIB, "-u", "-b", "/etc/passwd", "-F", "raw")
    length = (paths.incoming / "trap").stat().st_size
    info = images.import_image(paths, "a", "trap", "raw")
    assert info.format == "raw"
    made = disks.create(paths, server(paths), "root", MIB, "a", "raw")
    assert made.size_bytes == MIB >= length


@pytest.mark.parametrize("kind", ["absent", "symlink", "hardlink", "fifo", "directory"])
def test_what_is_no_plain_file_is_not_imported(paths: StatePaths, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    create(other, MIB)
    source = paths.incoming / "source"
    match kind:
        case "symlink":
            source.symlink_to(other)
        case "hardlink":
            os.link(other, source)
        case "fifo":
            os.mkfifo(source)
        case "directory":
            source.mkdir()
    with refused("not_found" if kind == "absent" else "invalid"):
        images.import_image(paths, "a", "source", "qcow2")
    assert images.list_images(paths) == []


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "x.info", "incoming", "x" * 129])
def test_keys_that_are_no_keys(paths: StatePaths, key: str) -> None:
    with refused("invalid"):
        images.import_image(paths, key, "source", "qcow2")


def test_an_image_that_was_half_imported_or_half_removed_goes(paths: StatePaths) -> None:
    for key in ("kept", "half.imported", "half-removed"):
        image(paths, key)
    paths.image_info("half.imported").rename(paths.images / "half.imported.info.new")
    paths.image_info("half-removed").unlink()
    create(paths.incoming / "source", 8 * MIB)
    images.sweep(paths)
    assert {path.name for path in paths.images.iterdir()} == {"kept", "kept.info", "incoming"}
    assert images.import_image(paths, "half.imported", "source", "qcow2").key == "half.imported"
