"""Finds out whether machines can run under KVM here, by running one.

`/dev/kvm` says nothing: on some hosts it opens, and every guest under it hangs for ever.  So the probe starts a
real guest whose boot sector does what an operating system does first, switches to 64-bit ("long") mode, and then
tells us by leaving QEMU with a status that it can compute only there.  A guest that has not done so within the
time limit will not do so later; machines then run under TCG, QEMU's own translator.

A finding holds for one boot of the host, one QEMU and one kernel, and is kept in the cache under these.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import signal
import struct
from pathlib import Path
from typing import Literal

import msgspec

QEMU = "qemu-system-x86_64"
KVM_DEVICE = Path("/dev/kvm")

# The port of QEMU's isa-debug-exit device: QEMU ends with status 2 * value + 1.
_EXIT_PORT = 0xF4
_LONG_MODE_VALUE = 0x21
LONG_MODE_STATUS = 2 * _LONG_MODE_VALUE + 1
_VERSION_TIMEOUT_S = 10.0


class Acceleration(msgspec.Struct, frozen=True):
    """How QEMU shall run machines on this host (the value of its `-accel`), and why so."""

    name: Literal["kvm", "tcg"]
    reason: str


class _Finding(msgspec.Struct, frozen=True):
    """A cached result, with what it holds for."""

    key: str
    acceleration: Acceleration


def boot_sector() -> bytes:
    """The guest: 512 bytes that the firmware loads to 0x7C00 and starts in 16-bit mode.

    It maps the first 2 MiB one to one, enters long mode, and leaves through the exit port with 0x21 if the
    processor says that long mode is active *and* a 64-bit shift gives what it gives only there; with 0x20 if not.
    Assembled by hand, since an assembler would be a dependency for a hundred bytes.  Sequence: AMD64 Architecture
    Programmer's Manual, volume 2, section 14.6 ("Enabling and Activating Long Mode").
    """
    origin = 0x7C00
    gdt_at, pointer_at, long_mode_at = 0x80, 0x90, 0xA0
    code16 = b"".join(
        (
            b"\xfa",  # cli: there is no interrupt table for what follows
            b"\xfc",  # cld
            b"\x31\xc0",  # xor ax, ax
            b"\x8e\xd8",  # mov ds, ax
            b"\x8e\xc0",  # mov es, ax
            # page tables at 0x1000 (level 4), 0x2000 (level 3), 0x3000 (level 2): cleared, then one entry in each
            b"\xbf\x00\x10",  # mov di, 0x1000
            b"\xb9\x00\x18",  # mov cx, 0x1800
            b"\xf3\xab",  # rep stosw
            b"\xc7\x06\x00\x10\x03\x20",  # mov word [0x1000], 0x2003: present, writable
            b"\xc7\x06\x00\x20\x03\x30",  # mov word [0x2000], 0x3003
            b"\xc7\x06\x00\x30\x83\x00",  # mov word [0x3000], 0x0083: present, writable, a page of 2 MiB at 0
            b"\x0f\x20\xe0",  # mov eax, cr4
            b"\x66\x83\xc8\x20",  # or eax, 0x20: physical address extension, which long mode asks for
            b"\x0f\x22\xe0",  # mov cr4, eax
            b"\x66\xb8\x00\x10\x00\x00",  # mov eax, 0x1000
            b"\x0f\x22\xd8",  # mov cr3, eax
            b"\x66\xb9\x80\x00\x00\xc0",  # mov ecx, 0xC0000080: the EFER register
            b"\x0f\x32",  # rdmsr
            b"\x66\x0d\x00\x01\x00\x00",  # or eax, 0x100: long mode enable
            b"\x0f\x30",  # wrmsr
            b"\x0f\x01\x16" + struct.pack("<H", origin + pointer_at),  # lgdt [pointer]
            b"\x0f\x20\xc0",  # mov eax, cr0
            b"\x66\x0d\x01\x00\x00\x80",  # or eax, 0x80000001: protection and paging together activate long mode
            b"\x0f\x22\xc0",  # mov cr0, eax
            b"\xea" + struct.pack("<HH", origin + long_mode_at, 0x08),  # jmp 0x08:long_mode
        )
    )
    # an empty descriptor, then 64-bit code: present, code, readable (0x9A), long (0x20)
    gdt = bytes(8) + b"\x00\x00\x00\x00\x00\x9a\x20\x00"
    pointer = struct.pack("<HI", len(gdt) - 1, origin + gdt_at)
    code64 = b"".join(
        (
            b"\x48\xbb" + struct.pack("<Q", 1 << 32),  # mov rbx, 0x100000000
            b"\x48\xc1\xeb\x20",  # shr rbx, 32: 1, only with 64-bit registers
            b"\xb9\x80\x00\x00\xc0",  # mov ecx, 0xC0000080
            b"\x0f\x32",  # rdmsr
            b"\xc1\xe8\x0a",  # shr eax, 10: "long mode active" becomes bit 0
            b"\x21\xd8",  # and eax, ebx
            b"\x04\x20",  # add al, 0x20
            b"\xe6" + bytes([_EXIT_PORT]),  # out 0xF4, al
            b"\xf4",  # hlt
            b"\xeb\xfd",  # jmp to the hlt
        )
    )
    sector = bytearray(512)
    for at, part in ((0, code16), (gdt_at, gdt), (pointer_at, pointer), (long_mode_at, code64), (510, b"\x55\xaa")):
        sector[at : at + len(part)] = part
    return bytes(sector)


async def probe(cache_dir: Path, timeout_s: float = 2.0) -> Acceleration:
    """Which acceleration works here.  Never raises for what it finds: a reason goes with the answer.

    `timeout_s` is what the guest gets to reach long mode (it needs a tenth of that).  The cache directory need not
    exist or be writable; then the next call probes again.
    """
    if not KVM_DEVICE.exists():
        return Acceleration(
            "tcg", f"{KVM_DEVICE} does not exist: no hardware virtualization, or its module is not loaded"
        )
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return Acceleration("tcg", f"{KVM_DEVICE} is not open to this user (its group is `kvm`)")
    version = await _qemu_version()
    if version is None:
        return Acceleration("tcg", f"{QEMU} did not start, so KVM was not tried")
    key = _key(version)
    if (known := _read(cache_dir, key)) is not None:
        return known
    found = await try_guest("kvm", timeout_s)
    _write(cache_dir, _Finding(key, found))
    return found


async def try_guest(accelerator: Literal["kvm", "tcg"], timeout_s: float) -> Acceleration:
    """Run the guest under the accelerator; the answer is that accelerator if it reached long mode, else TCG."""
    # Nothing of it may outlive us, even if we are killed: the disk is memory, and `timeout` ends a guest that hangs.
    disk = os.memfd_create("cloudseed-probe")
    try:
        os.write(disk, boot_sector())
        process = await asyncio.create_subprocess_exec(
            "timeout", "--foreground", "--signal=KILL", f"{timeout_s + 3:g}",
            QEMU, "-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-sandbox", "on",
            "-drive", f"file=/proc/self/fd/{disk},format=raw,if=ide",
            "-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=1",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            pass_fds=(disk,), start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(disk)
    try:
        _, said = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        return Acceleration("tcg", f"a guest under {accelerator} did not reach 64-bit mode within {timeout_s:g} s")
    finally:
        # the group is `timeout` and its QEMU, in a session of their own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode == LONG_MODE_STATUS:
        return Acceleration(accelerator, f"a guest under {accelerator} reached 64-bit mode")
    last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    return Acceleration("tcg", f"QEMU under {accelerator} ended with status {process.returncode}: {last[0][:300]}")


async def _qemu_version() -> str | None:
    """QEMU's own account of its version, or None when it is missing or does not answer."""
    try:
        process = await asyncio.create_subprocess_exec(
            QEMU,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _VERSION_TIMEOUT_S)
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return said.decode(errors="replace").partition("\n")[0] if process.returncode == 0 else None


def _key(qemu_version: str) -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    payload = hashlib.sha256(boot_sector()).hexdigest()[:12]
    return " | ".join((boot_id, platform.release(), qemu_version, payload))


def _file(cache_dir: Path) -> Path:
    return cache_dir / "acceleration.json"


def _read(cache_dir: Path, key: str) -> Acceleration | None:
    try:
        finding = msgspec.json.decode(_file(cache_dir).read_bytes(), type=_Finding)
    except (OSError, msgspec.DecodeError):
        return None
    return finding.acceleration if finding.key == key else None


def _write(cache_dir: Path, finding: _Finding) -> None:
    """Keep the finding, by rename; a cache that cannot be written costs only the next probe."""
    temporary = cache_dir / f".acceleration.{os.getpid()}"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.encode(finding))
        temporary.rename(_file(cache_dir))
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
