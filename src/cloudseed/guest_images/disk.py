"""Makes a disk that boots by itself with a BIOS: partition table, boot loader, kernel, root file system.

Nothing is mounted and no privilege is needed: the FAT file system is written by mtools and SYSLINUX's installer,
the ext4 one by mke2fs from a directory.  All dates and identifiers are fixed, so the same input gives the same
bytes.  Layout, in sectors of 512 bytes:

    0            master boot record (SYSLINUX's code: starts the active partition)
    2048         partition 1, FAT16, active: SYSLINUX, kernel, initramfs
    after it     partition 2, ext4: the root file system; last, so that the guest can grow it
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from cloudseed.guest_images import root_tree
from cloudseed.guest_images.cpio import Entry
from cloudseed.guest_images.errors import BuildError, run_tool

SECTOR = 512
FIRST_SECTOR = 2048
MIB = 1 << 20
ROOT_SIZE = 30 * MIB
DISK_SIGNATURE = 0xC10D5EED
FAT_SERIAL = "C10D5EED"
ROOT_UUID = "c10d5eed-0000-4000-8000-000000000001"
# Fixed dates: 2024-01-01, which FAT can express too.
EPOCH = 1704067200

# Console: last one named is /dev/console.  The rest leaves out work that a slow boot without hardware virtualization
# feels: moving the kernel's code (kaslr), self-tests of ciphers, mitigations (guests of this image run nobody else's
# code), waits for readers to drain (rcu), zeros written into each page and object before its owner writes its own.
# Without hardware virtualization QEMU runs the string instructions that these two processor flags recommend byte by
# byte: a tenth of a boot was spent in clearing pages.
_SLOW_FLAGS = "erms,rep_good"
# Parts of the kernel that nobody uses here and that take 20 to 200 ms each to start: a self-test of key derivation,
# kprobes and the block tracer, certificates for modules (ours have no signatures), encrypted keys.
_UNUSED = (
    "crypto_kdf108_init", "init_kprobes", "init_kprobe_trace", "init_blk_tracer", "load_system_certificate_list",
    "init_encrypted",
)  # fmt: skip
KERNEL_ARGUMENTS = (
    "quiet console=tty1 console=ttyS0,115200 nokaslr mitigations=off cryptomgr.notests no_timer_check "
    f"rcupdate.rcu_expedited=1 init_on_alloc=0 clearcpuid={_SLOW_FLAGS} initcall_blacklist={','.join(_UNUSED)} panic=30"
)

def make(unpacked: Path, work: Path, initramfs: bytes, root: list[Entry]) -> Path:
    """Write the raw disk into the work directory and return its path.  Raises BuildError."""
    kernel, _ = root_tree.kernel(unpacked)
    initrd = work / "initrd"
    initrd.write_bytes(initramfs)
    boot = boot_file_system(unpacked, work, kernel, initrd, KERNEL_ARGUMENTS)
    return join(unpacked, work, boot, _root_file_system(unpacked, work, root))


def join(unpacked: Path, work: Path, boot: Path, root: Path) -> Path:
    """One disk of the two file systems; their sizes are whole sectors.  Returns its path in the work directory."""
    disk = work / "disk.raw"
    boot_sectors, root_size = boot.stat().st_size // SECTOR, root.stat().st_size
    root_start = FIRST_SECTOR + boot_sectors
    with disk.open("wb") as out:
        out.write(_boot_record(unpacked, boot_sectors, root_start, root_size // SECTOR))
        _copy_sparse(boot, out.fileno(), FIRST_SECTOR * SECTOR)
        _copy_sparse(root, out.fileno(), root_start * SECTOR)
        out.truncate(root_start * SECTOR + root_size)
    return disk


def to_qcow2(raw: Path, target: Path) -> None:
    """Convert to qcow2: no holes to carry, and what clouds expect."""
    argv: list[str | Path] = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target]
    run_tool(argv, doing="converting the disk to qcow2", package="qemu-utils")


def _boot_record(unpacked: Path, boot_sectors: int, root_start: int, root_sectors: int) -> bytes:
    code = _data_file(unpacked, "mbr/mbr.bin").read_bytes()
    if len(code) > 440:
        raise BuildError(f"SYSLINUX's master boot record has {len(code)} bytes, more than the 440 that fit")
    no_chs = b"\xfe\xff\xff"  # "beyond what cylinders can say": the LBA fields count
    entries = b"".join(
        struct.pack("<B3sB3sII", active, no_chs, kind, no_chs, start, count)
        for active, kind, start, count in (
            (0x80, 0x0E, FIRST_SECTOR, boot_sectors),
            (0x00, 0x83, root_start, root_sectors),
        )
    )
    return code.ljust(440, b"\0") + struct.pack("<IH", DISK_SIGNATURE, 0) + entries.ljust(64, b"\0") + b"\x55\xaa"


def boot_file_system(unpacked: Path, work: Path, kernel: Path, initrd: Path, arguments: str) -> Path:
    """A FAT file system that starts this kernel with these arguments; its path in the work directory."""
    image = work / "boot.fat"
    (work / "syslinux.cfg").write_text(
        "DEFAULT linux\nPROMPT 0\nNOESCAPE 1\nLABEL linux\n  LINUX /vmlinuz\n  INITRD /initrd\n"
        f"  APPEND {arguments}\n")
    # 1 MiB for the loader, the tables and the rounding to clusters
    size = -(-(kernel.stat().st_size + initrd.stat().st_size + MIB) // MIB) * MIB
    tools = str(unpacked / "usr/bin")
    env = {"SOURCE_DATE_EPOCH": str(EPOCH), "PATH": f"{tools}:/usr/bin:/bin", "MTOOLSRC": "/dev/null"}

    def step(*argv: str | Path) -> None:
        run_tool(
            [Path(tools) / argv[0], *argv[1:]], doing="writing the boot partition", package="libc6", env=env, cwd=work
        )

    image.unlink(missing_ok=True)
    # 64 heads of 32 sectors, so that a cylinder is a MiB; clusters of 8 KiB keep the boot loader's reads few
    step("mformat", "-C", "-i", image, "-T", str(size // SECTOR), "-h", "64", "-s", "32", "-H", str(FIRST_SECTOR),
         "-c", "16", "-N", FAT_SERIAL, "-v", "CLOUDSEED", "::")  # fmt: skip
    step("syslinux", "--install", image)
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (work / "syslinux.cfg", "syslinux.cfg")):
        step("mcopy", "-i", image, source, f"::{name}")
    return image


def _root_file_system(unpacked: Path, work: Path, entries: list[Entry]) -> Path:
    image, tree = work / "root.ext4", work / "root"
    tree.mkdir()
    root_tree.write(entries, tree)
    with image.open("wb") as out:
        out.truncate(ROOT_SIZE)
    e2fs(
        unpacked, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-i", "8192",
        # room in the group table, so that a mounted file system can grow to 256 GiB before it must change its layout
        "-E", f"hash_seed={ROOT_UUID},nodiscard,root_owner=0:0,resize={(256 << 30) // 4096}",
        "-U", ROOT_UUID, "-L", "cloudseed-root", "-d", tree, image,
    )  # fmt: skip
    # Owners and dates are set inside the image: the builder may be anybody, at any time.
    commands = []
    for entry in [Entry(".", stat.S_IFDIR), Entry("lost+found", stat.S_IFDIR), *entries]:
        path = "/" if entry.path == "." else f"/{entry.path}"
        for field, value in (
            ("uid", str(entry.owner)),
            ("gid", str(entry.owner)),
            *((f"{kind}time", f"@{EPOCH}") for kind in ("a", "c", "m", "cr")),
        ):
            commands.append(f'set_inode_field "{path}" {field} {value}')
        if entry.path not in (".", "lost+found") and not stat.S_ISLNK(entry.mode):
            commands.append(f'set_inode_field "{path}" mode 0{entry.mode:o}')
    e2fs(unpacked, "debugfs", "-w", "-f", "-", image, stdin="\n".join(commands) + "\n")
    return image


def e2fs(unpacked: Path, name: str, *arguments: str | Path, stdin: str | None = None) -> None:
    """Run a program of the unpacked e2fsprogs with its own libraries: the host's versions do not matter."""
    loader = next(iter(sorted(unpacked.glob("lib64/ld-linux*")) + sorted(unpacked.glob("usr/lib64/ld-linux*"))))
    libraries = ":".join(str(unpacked / place) for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"))
    argv = [loader, "--library-path", libraries, root_tree.find(unpacked, name), *arguments]
    env = {"E2FSPROGS_FAKE_TIME": str(EPOCH), "MKE2FS_CONFIG": str(unpacked / "etc/mke2fs.conf")}
    run_tool(argv, doing="writing the root partition", package="libc6", env=env, stdin=stdin)


def _data_file(unpacked: Path, name: str) -> Path:
    for place in ("usr/lib/syslinux", "usr/share/syslinux"):
        if (path := unpacked / place / name).exists():
            return path
    raise BuildError(f"the package syslinux-common did not bring {name}")


def _copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy a file into an open file at the offset, leaving holes where it has nothing but zeros."""
    zeros = bytes(64 << 10)
    with source.open("rb") as file:
        while chunk := file.read(len(zeros)):
            if chunk != zeros[: len(chunk)]:
                os.pwrite(target, chunk, offset)
            offset += len(chunk)
