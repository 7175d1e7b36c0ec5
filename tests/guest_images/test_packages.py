"""What is read from apt, from ELF files and from kernel modules, and what is written for the guest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cloudseed.guest_images import cpio, elf, kernel_modules, packages, root_tree
from cloudseed.guest_images.errors import BuildError
from cloudseed.guest_images.kernel_modules import Module

SHOWN = """Package: dropbear-bin
Version: 1:2022.83-1+deb12u3
Architecture: amd64
Pre-Depends: libc6 (>= 2.36)
Depends: libcrypt1 (>= 1:4.1.0), zlib1g:any | other, linux-image-9-cloud
Description-en: of no interest
 Depends: nothing
SHA256: 00ff

"""


def stanza(name: str, depends: str = "") -> str:
    return f"Package: {name}\nVersion: 1\nArchitecture: amd64\nDepends: {depends}\nSHA256: 0{name}\n\n"


def test_package_is_read_as_apt_shows_it() -> None:
    (package,) = packages.parse_show(SHOWN)
    assert package.depends == ("libc6", "libcrypt1", "zlib1g", "linux-image-9-cloud")
    assert package.file_name == "dropbear-bin_1%3a2022.83-1+deb12u3_amd64.deb"


def test_dependencies_are_followed_once_and_metapackages_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = {"tool": "liba", "meta": "image-7", "liba": "libb", "libb": "liba, shell", "image-7": "", "shell": ""}
    asked: list[str] = []

    def apt_cache(argv: list[str], **_: object) -> str:
        names = argv[3:]
        asked.extend(names)
        return "".join(stanza(name, world[name]) for name in names if name in world)

    monkeypatch.setattr(packages, "run_tool", apt_cache)
    found = packages.resolve(["tool"], ["meta"], follow=lambda name: name != "shell")
    assert [package.name for package in found] == ["image-7", "liba", "libb", "tool"]
    assert len(asked) == len(set(asked))


def test_unknown_seed_names_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "run_tool", lambda argv, **_: "")
    with pytest.raises(BuildError, match=r"does not know tool.*apt-get update"):
        packages.resolve(["tool"], [], follow=lambda name: True)


def test_damaged_download_is_fetched_again_and_refused_when_still_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (package,) = packages.parse_show(SHOWN)
    (tmp_path / package.file_name).write_bytes(b"damaged")
    runs: list[list[str]] = []
    monkeypatch.setattr(packages, "run_tool", lambda argv, **_: runs.append(argv) or "")
    with pytest.raises(BuildError, match="digest"):
        packages.download([package], tmp_path)
    assert runs[0][-1] == "dropbear-bin=1:2022.83-1+deb12u3"


def test_libraries_of_a_program_are_those_that_its_loader_names() -> None:
    binary = Path(sys.executable).resolve().read_bytes()
    assert "libc.so.6" in elf.needed_libraries(binary)
    assert Path(elf.interpreter(binary) or "").name.startswith("ld-linux")
    with pytest.raises(ValueError, match="ELF"):
        elf.sections(b"#!/bin/sh\n")


def test_modules_dep_lists_what_must_be_loaded_last_to_first() -> None:
    """busybox loads a line from its end: each module must come before those that it needs."""
    modules = [
        Module("ring", "r.ko", (), ()),
        Module("virtio", "v.ko", ("ring",), ("virtio:*",)),
        Module("pci", "p.ko", ("ring", "virtio"), ("pci:1", "pci:2")),
    ]
    assert kernel_modules.dependency_index(modules) == "r.ko:\nv.ko: r.ko\np.ko: v.ko r.ko\n"
    assert kernel_modules.alias_index(modules) == "alias virtio:* virtio\nalias pci:1 pci\nalias pci:2 pci\n"


def test_signature_of_a_module_is_cut_off_exactly() -> None:
    body, signature = b"\x7fELF module", b"s" * 700
    info = bytes(8) + len(signature).to_bytes(4, "big")
    signed = body + signature + info + b"~Module signature appended~\n"
    assert kernel_modules.without_signature(signed) == body
    assert kernel_modules.without_signature(body) == body


def test_archive_has_the_layout_that_linux_reads() -> None:
    """Header of thirteen hexadecimal fields, name, content; name and content each begin at a multiple of four."""
    entries = [
        cpio.directory("d"),
        cpio.file("d/f", b"content", 0o600),
        cpio.symlink("l", "d/f"),
        cpio.file("odd", b"1"),
    ]
    data, at, found = cpio.archive(entries), 0, []
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size]
        at += -(-(110 + name_size) // 4) * 4
        found.append((name, mode, data[at : at + size]))
        at += -(-size // 4) * 4
    assert found == [
        (b"d\0", 0o40755, b""),
        (b"d/f\0", 0o100600, b"content"),
        (b"l\0", 0o120777, b"d/f"),
        (b"odd\0", 0o100644, b"1"),
        (b"TRAILER!!!\0", 0, b""),
    ]


def test_every_script_of_the_guest_is_one_that_a_shell_reads() -> None:
    scripts = [path for path in root_tree.HERE.rglob("tiny_*/**/*") if path.is_file()]
    shell = [path for path in scripts if path.read_bytes().startswith(b"#!/bin/sh")]
    assert len(shell) >= 10
    for path in shell:
        subprocess.run(["sh", "-n", str(path)], check=True, timeout=10)


awk = shutil.which("awk")


PATH = {"PATH": os.environ["PATH"]}


def flatten(text: str) -> tuple[int, str]:
    script = root_tree.HERE / "tiny_root/usr/lib/cloudseed/json.awk"
    # bytes, not characters, are what the guest's awk sees
    done = subprocess.run(
        ["awk", "-f", str(script)], input=text, capture_output=True, text=True, timeout=10, env={"LC_ALL": "C", **PATH}
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(not awk, reason="needs awk")
def test_guest_reads_json_with_all_its_quirks() -> None:
    data = {
        "uuid": "u-1",
        "public_keys": {'my "key"': "ssh-rsa AAAA me\\you\n", "two": "ssh-ed25519 B\nssh-ed25519 C\n"},
        "list": [1, {"deep": [True, None, -1.5e3]}, []],
        "empty": {},
        "text": "a\tb/ü",
    }
    expected = (
        "/uuid\tu-1\n"
        '/public_keys/my "key"\tssh-rsa AAAA me\\you\n'
        "/public_keys/two\tssh-ed25519 B\n/public_keys/two\tssh-ed25519 C\n"
        "/list/0\t1\n/list/1/deep/0\ttrue\n/list/1/deep/1\tnull\n/list/1/deep/2\t-1500.0\n"
        "/text\ta\tb/ü\n"
    )
    for text in (json.dumps(data), json.dumps(data, indent=2), json.dumps(data, ensure_ascii=False)):
        assert flatten(text) == (0, expected)


@pytest.mark.skipif(not awk, reason="needs awk")
@pytest.mark.parametrize(
    "text", ["", "{", '{"a"', '{"a": "b', '{"a": 1} x', '{"a" 1}', "[1 2]", '"\\u12', "[" * 100, "<html>"]
)
def test_guest_refuses_what_is_not_json(text: str) -> None:
    status, _ = flatten(text)
    assert status == 1
