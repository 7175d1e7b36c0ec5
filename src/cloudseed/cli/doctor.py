"""`cloudseed doctor`: what this machine has and lacks for a cloud, each lack with the command that mends it.

Every check is a function that returns a record; it tries the thing itself where it can (a port is bound, a bridge
is made in a namespace that is gone with the check) instead of reading what a configuration file promises.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from cloudseed.cli import control, options, processes
from cloudseed.cli.hosts import shape
from cloudseed.cli.openstack import cache
from cloudseed.host.acceleration import Acceleration, probe

DESCRIPTION = """Check that this machine can run a cloud, and say how to mend what is missing.

exit codes: 0 all is well or only worth a warning, 1 something must be mended, 2 wrong command line"""

Status = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True):
    """One finding: ok; warn, the cloud runs but not as well as it could; fail, mend it first.  `fix` is a command."""

    name: str
    status: Status
    finding: str
    fix: str | None = None


class Program(msgspec.Struct, frozen=True):
    """A program that we start: what asks it for its version, the package that brings it, what it is for."""

    name: str
    version_argument: str
    package: str
    purpose: str


PROGRAMS = (
    Program("qemu-system-x86_64", "--version", "qemu-system-x86", "runs machines"),
    Program("qemu-img", "--version", "qemu-utils", "makes disks"),
    Program("qemu-storage-daemon", "--version", "qemu-system-common", "exports volumes"),
    Program("dnsmasq", "--version", "dnsmasq-base", "answers DHCP"),
    Program("radvd", "--version", "radvd", "announces routers to IPv6 guests"),
    Program("nft", "--version", "nftables", "security groups"),
    Program("ip", "-V", "iproute2", "links and namespaces"),
)
SBIN_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
MIN_MEMORY_MIB, GOOD_MEMORY_MIB = 512, 2048
MIN_DISK_GIB, GOOD_DISK_GIB = 2, 10

# What the host process makes of the kernel, each tried with a command inside a network namespace of its own.
KERNEL_FEATURES = {
    "network namespaces": ("true", None),
    "bridge": ("ip link add cst0 type bridge", "bridge"),
    "veth": ("ip link add cst0 type veth peer name cst1", "veth"),
    "tap (tun)": ("ip tuntap add cst0 mode tap", "tun"),
    "vxlan": ("ip link add cst0 type vxlan id 7 dstport 4789 local 127.0.0.1", "vxlan"),
    "nftables, inet family with conntrack": (
        "nft 'table inet t { chain c { type filter hook forward priority 0; ct state established accept; }; }'",
        "nf_tables nft_ct nf_conntrack",
    ),
    "nftables, address translation": (
        "nft 'table inet t { chain c { type nat hook postrouting priority 100; masquerade; }; }'",
        "nf_tables nft_chain_nat nft_masq nft_nat",
    ),
    "nftables, bridge family": (
        "nft 'table bridge t { chain c { type filter hook forward priority -200; meta mark set 1; }; }'",
        "nf_tables nft_meta_bridge",
    ),
    "br_netfilter": ("test -e /proc/sys/net/bridge/bridge-nf-call-iptables", "br_netfilter"),
}


def check_root(effective_uid: int) -> Check:
    """Machines and networks need root; all else does not."""
    if effective_uid == 0:
        return Check("root", "ok", "running as root")
    return Check(
        "root", "warn", "not root: services work, machines are only pretended (driver fake)", "sudo ./cloudseed doctor"
    )


def check_acceleration(found: Acceleration) -> Check:
    """What the probe's answer means for the user."""
    if found.name == "kvm":
        return Check("acceleration", "ok", f"KVM: {found.reason}")
    fix = None
    if "does not exist" in found.reason:
        fix = "sudo modprobe -a kvm_intel kvm_amd  (and virtualization enabled in the firmware)"
    elif "not open" in found.reason:
        fix = "sudo usermod -aG kvm $USER  (then log in anew), or use sudo"
    return Check("acceleration", "warn", f"machines run under TCG, several times slower: {found.reason}", fix)


def check_port(address: str, port: int, ours: bool) -> Check:
    """Whether the API can listen there; `ours` says that this cloud already does."""
    name = f"port {port}"
    if ours:
        return Check(name, "ok", f"this cloud listens on {address}:{port}")
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            fix = f"./cloudseed up --port {port + 1 if port < 65535 else 8080}"
            fix += f"  (or end what `sudo ss -ltnp sport = :{port}` shows)"
            return Check(name, "fail", f"something else listens on {address}:{port}", fix)
        return Check(name, "fail", f"{address}:{port} cannot be used: {exc}", "./cloudseed up --address 127.0.0.1")
    return Check(name, "ok", f"{address}:{port} is free")


def check_disk(directory: Path, free_bytes: int) -> Check:
    """Room for images and disks where the state is kept."""
    gib = free_bytes / (1 << 30)
    finding = f"{gib:.1f} GiB free for {directory}"
    fix = "sudo apt-get clean  (or name a directory on a larger disk with --state)"
    if gib < MIN_DISK_GIB:
        return Check("disk space", "fail", f"{finding}; {MIN_DISK_GIB} GiB are the least", fix)
    if gib < GOOD_DISK_GIB:
        return Check("disk space", "warn", f"{finding}; {GOOD_DISK_GIB} GiB are comfortable", fix)
    return Check("disk space", "ok", finding)


def check_memory(meminfo: str) -> Check:
    """Room for the control plane and a few small machines; `meminfo` is the text of /proc/meminfo."""
    available, total = memory_available_mib(meminfo), _mib(meminfo, "MemTotal")
    finding = f"{available} MiB available of {total}"
    fix = "ps aux --sort=-rss | head  (shows what could end)"
    if available < MIN_MEMORY_MIB:
        return Check("memory", "fail", f"{finding}; {MIN_MEMORY_MIB} MiB are the least", fix)
    if available < GOOD_MEMORY_MIB:
        return Check("memory", "warn", f"{finding}; room for few machines", fix)
    return Check("memory", "ok", finding)


def memory_available_mib(meminfo: str) -> int:
    """What processes that start now may take, by the text of /proc/meminfo."""
    return _mib(meminfo, "MemAvailable")


def _mib(meminfo: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def check_program(program: Program, path: str | None, version: str | None) -> Check:
    """A program that we start: there, and answering."""
    install = f"sudo apt-get install --no-install-recommends {program.package}"
    if path is None:
        return Check(program.name, "fail", f"not installed ({program.purpose})", install)
    if version is None:
        reinstall = f"sudo apt-get install --reinstall {program.package}"
        return Check(program.name, "fail", f"{path} does not start ({program.purpose})", reinstall)
    return Check(program.name, "ok", version)


def check_image_tools(missing: list[str]) -> Check:
    """The tiny image is made from Debian's packages, with Debian's tools."""
    if missing:
        finding = f"{', '.join(missing)} not found: the tiny guest image can only be built on Debian"
        return Check("image building", "warn", finding, "docker run debian:12  (or upload an image of your own)")
    return Check("image building", "ok", "apt-get, apt-cache and dpkg-deb found")


def check_kernel_feature(name: str, modules: str | None, problem: str | None) -> Check:
    """A thing that the kernel must be able to make; `problem` is what was said at the trial, None if it went well."""
    if problem is None:
        return Check(f"kernel: {name}", "ok", "tried, works")
    fix = f"sudo modprobe -a {modules}" if modules else "run on a kernel with CONFIG_NET_NS, and not in a container"
    return Check(f"kernel: {name}", "fail", problem, fix)


def find_program(name: str) -> str | None:
    """Its path, found in the administrator's directories too, which a user's PATH leaves out."""
    return shutil.which(name, path=SBIN_PATH)


def program_version(path: str, argument: str) -> str | None:
    """The first line that the program says of itself, or None when it does not run."""
    try:
        done = subprocess.run(
            [path, argument], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = (done.stdout or done.stderr).strip()
    return said.partition("\n")[0][:100] if done.returncode == 0 and said else None


def try_in_namespace(command: str) -> str | None:
    """Run a shell line in a fresh network namespace, which ends with it; what was wrong, or None.

    Without root it runs in a user namespace, whose root may do the same.  Our own constant lines only.
    """
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *rights, "--net", "sh", "-c", command]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            env={**os.environ, "PATH": SBIN_PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return "unshare is missing (package util-linux)"
    except subprocess.TimeoutExpired:
        return "no answer within 10 s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"`{command}` ended with status {done.returncode}"])[0][:200]


def kernel_checks(attempt: Callable[[str], str | None] = try_in_namespace) -> list[Check]:
    """All kernel features; those whose tool is missing are left to the tool's own finding."""
    found = []
    for name, (command, modules) in KERNEL_FEATURES.items():
        tool = command.split()[0]
        if tool in ("ip", "nft") and find_program(tool) is None:
            found.append(Check(f"kernel: {name}", "warn", f"not tried, since {tool} is missing"))
            continue
        found.append(check_kernel_feature(name, modules, attempt(command)))
        if name == "network namespaces" and found[-1].status == "fail":
            break  # the others would all fail for this reason
    return found


def existing_parent(path: Path) -> Path:
    """The path itself or the nearest directory above it that there is."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def examine(state: Path, address: str, port: int, hosts: int = 0) -> list[Check]:
    """All checks, in the order in which they are worth mending; `hosts`: for a cloud of so many."""
    checks = [check_root(os.geteuid())]
    for program in PROGRAMS:
        path = find_program(program.name)
        version = program_version(path, program.version_argument) if path else None
        checks.append(check_program(program, path, version))
    checks.append(check_acceleration(asyncio.run(probe(cache()))))
    checks += kernel_checks()
    checks.append(check_port(address, port, _is_ours(state, port)))
    checks.append(check_disk(state, shutil.disk_usage(existing_parent(state)).free))
    checks.append(check_memory(Path("/proc/meminfo").read_text()))
    tools = ("apt-get", "apt-cache", "dpkg-deb")
    checks.append(check_image_tools([name for name in tools if find_program(name) is None]))
    if hosts:
        from cloudseed.cli.hosts import doctor as many  # it stands on this module

        checks += many.checks(hosts, Path("/proc/meminfo").read_text())
    return checks


def _is_ours(state: Path, port: int) -> bool:
    """Whether the cloud of this state directory runs and has this port."""
    try:
        return control.running(state) is not None and f":{port}" in processes.load(state).url
    except OSError:
        return False  # another user's directory: then it is not ours to count on


def show(checks: Iterable[Check], out: Console) -> None:
    """The findings as a table, and below it the commands, one a line, whole, to be copied."""
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("check", "", "finding"):
        table.add_column(heading)
    checks = list(checks)
    for check in checks:
        table.add_row(check.name, f"[{colours[check.status]}]{check.status}[/]", check.finding)
    out.print(table)
    fixes = [(check.name, check.fix) for check in checks if check.status != "ok" and check.fix]
    if fixes:
        out.print("\n[bold]To mend:[/]")
        for name, fix in fixes:
            out.print(f"  {name}:", markup=False)
            out.print(f"    {fix}", markup=False, soft_wrap=True)


def run(argv: list[str]) -> int:
    """The command: prints findings, returns its exit code."""
    made = options.parser("doctor", DESCRIPTION)
    made.add_argument("--address", default="127.0.0.1", help="where the API shall listen (default %(default)s)")
    made.add_argument("--port", type=_port, default=8080, help="the API's port (default %(default)s)")
    made.add_argument("--hosts", type=int, metavar="N", help="check also what `up --hosts N` needs")
    chosen = made.parse_args(argv)
    known = shape.load(chosen.state)
    hosts = chosen.hosts if chosen.hosts is not None else known.count if known is not None else 0
    checks = examine(chosen.state, chosen.address, chosen.port, hosts)
    failed = [check for check in checks if check.status == "fail"]
    if chosen.json:
        answer = {"ok": not failed, "checks": [msgspec.to_builtins(check) for check in checks]}
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    else:
        out = Console(highlight=False)
        show(checks, out)
        if failed:
            out.print(f"\n[red]{len(failed)} to mend before a cloud can run here[/]")
        else:
            out.print("\n[green]a cloud can run here[/]: sudo ./cloudseed demo")
    return 1 if failed else 0


def _port(text: str) -> int:
    """A TCP port, for argparse."""
    value = int(text)
    if not 1 <= value <= 65535:
        raise ValueError(text)
    return value
