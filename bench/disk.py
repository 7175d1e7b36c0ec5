"""Disks in the guest: a server's root disk and a volume, beside a bare QEMU with the same files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import guest, plain
from bench.cloud import BenchCloud
from bench.measure import Program, median
from bench.shell import USER_DATA, Guest
from bench.tenant import Tenant
from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.host.paths import StatePaths

DESCRIPTION = """MiB/s (writing with a flush at the end, reading) and operations a second (4 KiB past the guest's cache,
one after another and by eight processes at once) inside the tiny guest, in turns with a bare QEMU that was started with
plain options.  The root disk is an overlay of the same image in both.  The volume is one file, which a server of ours
reaches through its storage daemon; bare QEMU has it twice, opened by itself and through a plain storage daemon: what
NBD costs is the way between those two, what we add to it is the last ratio.  A ratio is ours over bare, the median over
the rounds.  Needs root."""

_VOLUME, _EXPORTED = "/dev/vdb", "/dev/vdc"
_FILE = "/var/tmp/bench"
_DROP = "sync; echo 3 >/proc/sys/vm/drop_caches"
_DEPTH = 8
_MEASURES = ("write_mib_per_s", "read_mib_per_s", "write_iops", "read_iops", "write_iops_8", "read_iops_8")


def main(argv: list[str]) -> int:
    program = Program("disk", DESCRIPTION)
    add = program.parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="measurements of each (default %(default)s)")
    add("--mib", type=int, default=64, metavar="N", help="that a round writes and reads (default %(default)s)")
    add("--operations", type=int, default=2000, metavar="N", help="of 4 KiB in a round (default %(default)s)")
    chosen = program.parse(argv)
    if chosen.operations // 4 * _DEPTH * 4096 > chosen.mib << 20:
        program.parser.error(f"{chosen.operations} operations need more than {chosen.mib} MiB: raise --mib")
    if os.geteuid() != 0:
        return program.impossible("real machines and network namespaces need root")
    image = build_tiny(openstack.cache(), program.tell)
    with BenchCloud("auto") as cloud, tempfile.TemporaryDirectory(prefix="csb-bare-") as scratch:
        cloud.up()
        program.tell("a server with a volume, and bare QEMU")
        tenant = Tenant(cloud, image)
        server_id = tenant.order(USER_DATA.format(address=f"{plain.GUEST_ADDRESS}/{plain.PREFIX}"))
        ours = Guest(tenant.namespace, tenant.address(server_id))
        tenant.wait_for_active(server_id)
        volume_id = tenant.attach_new_volume(server_id)
        template = guest.template_of(cloud.state, server_id)
        volume = StatePaths(cloud.state).volume(volume_id).data
        ours.wait()
        with (
            plain.network(template.spec.nics[0].mtu) as namespace,
            plain.storage_daemon(volume, Path(scratch)) as socket,
            plain.qemu(template, Path(scratch), namespace, volume, socket),
        ):
            bare = Guest(namespace, plain.GUEST_ADDRESS)
            bare.wait()
            figures = _measure(program.tell, ours, bare, chosen.rounds, chosen.mib, chosen.operations)
        tenant.delete(server_id)
    return program.finish(figures)


def _measure(
    tell: Callable[[str], None], ours: Guest, bare: Guest, rounds: int, mib: int, operations: int
) -> dict[str, float]:
    for end in (ours, bare):  # the file's blocks are there before anything is measured
        end.seconds(f"dd if=/dev/zero of={_FILE} bs=1M count={mib} conv=fsync")
    ours.seconds(f"dd if=/dev/zero of={_VOLUME} bs=1M count={mib} conv=fsync")
    figures = dict[str, float]()
    disks: dict[str, dict[str, tuple[Guest, str]]] = {
        "root": {"ours": (ours, _FILE), "bare": (bare, _FILE)},
        "volume": {"ours": (ours, _VOLUME), "bare": (bare, _VOLUME), "nbd": (bare, _EXPORTED)},
    }
    for disk, sides in disks.items():
        took: dict[str, dict[str, list[float]]] = {name: {side: [] for side in sides} for name in _MEASURES}
        for number in range(rounds):
            for name in _MEASURES:
                for side in sorted(sides, reverse=bool(number % 2)):
                    took[name][side].append(_once(*sides[side], name, mib, operations))
        for other in [side for side in sides if side != "ours"]:
            figures |= _compare(tell, disk, other, took)
    return {name: round(value, 3) for name, value in figures.items()}


def _compare(
    tell: Callable[[str], None], disk: str, other: str, took: dict[str, dict[str, list[float]]]
) -> dict[str, float]:
    """The figures of a disk of ours beside another's."""
    label, figures = disk if other == "bare" else f"{disk}_{other}", dict[str, float]()
    for name, of in took.items():
        ratio = median([a / b for a, b in zip(of["ours"], of[other], strict=True)])
        one, two = median(of["ours"]), median(of[other])
        tell(f"{label:<10} {name:<15} ours {one:>8.1f}  bare {two:>8.1f}  ratio {ratio:.2f}")
        figures |= {f"{disk}_{name}": one, f"{label}_bare_{name}": two, f"{label}_{name}_ratio": ratio}
    figures[f"{label}_least_ratio"] = min(figures[f"{label}_{name}_ratio"] for name in _MEASURES)
    return figures


def _once(side: Guest, path: str, name: str, mib: int, operations: int) -> float:
    """One figure of one side."""
    if name == "write_mib_per_s":
        seconds = side.seconds(f"dd if=/dev/zero of={path} bs=1M count={mib} conv=notrunc,fsync", _DROP)
    elif name == "read_mib_per_s":
        seconds = side.seconds(f"dd if={path} of=/dev/null bs=1M count={mib}", _DROP)
    else:
        at_once = _DEPTH if name.endswith("_8") else 1
        # the more at once, the less each: a round takes about as long
        each = operations // 4 if at_once > 1 else operations
        if name.startswith("write"):
            commands = [
                f"dd if=/dev/zero of={path} bs=4k count={each} seek={each * number} oflag=direct conv=notrunc,fsync"
                for number in range(at_once)
            ]
        else:
            commands = [
                f"dd if={path} of=/dev/null bs=4k count={each} skip={each * number} iflag=direct"
                for number in range(at_once)
            ]
        return each * at_once / side.seconds_together(commands, _DROP)
    return mib / seconds


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as exc:
        sys.exit(f"cloudseed bench disk: {exc}: {exc.stderr}")
