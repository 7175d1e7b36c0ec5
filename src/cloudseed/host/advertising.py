"""Router advertisements: a radvd in the router's namespace, when it has IPv6 subnets that ask for them.

dnsmasq announces routers too, but says "addresses are managed" only where it manages them itself, and that is
the business of the network's own DHCP server: so radvd, which announces what it is told.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cloudseed.host import binaries, netns, processes, strays
from cloudseed.host.errors import HostError
from cloudseed.host.paths import check_cidr, check_ip, router_link_name
from cloudseed.host.records import Advertisement, RouterWish

_INTERVAL_S = (30, 100)  # upstream's min_rtr_adv_interval and max_rtr_adv_interval


class _Started(msgspec.Struct, frozen=True):
    process: processes.ProcessRecord
    arguments: list[str]
    told: str = ""  # the file that it was told to read last; who wrote another may have been killed before telling


def config(wish: RouterWish) -> str:
    """radvd.conf; empty when nothing is to be announced."""
    out: list[str] = []
    for leg in wish.legs:
        if not leg.advertisements:
            continue
        modes = {a.mode for a in leg.advertisements}
        out += [
            f"interface {router_link_name(leg.port_id, False)}",
            "{",
            "  AdvSendAdvert on;",
            f"  MinRtrAdvInterval {_INTERVAL_S[0]};",
            f"  MaxRtrAdvInterval {_INTERVAL_S[1]};",
            f"  AdvLinkMTU {leg.mtu};",
        ]
        if "dhcpv6-stateless" in modes:
            out.append("  AdvOtherConfigFlag on;")
        if "dhcpv6-stateful" in modes:
            out.append("  AdvManagedFlag on;")
        for each in leg.advertisements:
            out += _prefix(each)
        out.append("};")
    return "".join(f"{line}\n" for line in out)


def _prefix(each: Advertisement) -> list[str]:
    autonomous = "off" if each.mode == "dhcpv6-stateful" else "on"
    out = [
        f"  prefix {check_cidr(each.prefix, 'a prefix')}",
        "  {",
        "    AdvOnLink on;",
        f"    AdvAutonomous {autonomous};",
        "  };",
    ]
    servers = [check_ip(ip, "a DNS server") for ip in each.dns_nameservers if ":" in ip]
    # the other modes hand these out by DHCPv6
    if servers and each.mode == "slaac":
        out += [f"  RDNSS {' '.join(servers[:3])} {{}};"]
    return out


def sync(namespace: str, directory: Path, wish: RouterWish) -> bool:
    """Make radvd announce the wish; true when something changed.  Call it from outside the namespace."""
    text, started = config(wish), _load(directory)
    if not text:
        if started is None:
            return False
        stop(directory)
        return True
    path = directory / "radvd.conf"
    if not path.exists() or path.read_text() != text:
        processes.replace_file(path, text.encode(), mode=0o644)
        path.chmod(0o644)
    argv = [binaries.find("radvd"), "--nodaemon", "--logmethod", "stderr", "--username", _user(),
            "--config", str(netns.DIRECTORY / path.name), "--pidfile", str(netns.DIRECTORY / "radvd.pid")]
    if started is not None and started.process.alive and started.arguments == argv:
        if started.told == text:
            return False
        os.kill(started.process.pid, signal.SIGHUP)
        _save(directory, _Started(started.process, argv, text))
        return True
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    for pid, program in strays.in_namespaces([namespace]):
        if program == "radvd":
            strays.end(pid)
    log = directory / "radvd.log"
    log.unlink(missing_ok=True)
    # it reads its file again as nobody, who may not pass the state directory
    record = netns.run_with_only(namespace, directory, netns.DIRECTORY, lambda: processes.spawn(argv, log=log))
    _save(directory, _Started(record, argv, text))
    _wait_started(record, log)
    return True


def stop(directory: Path) -> None:
    """End the router's radvd and forget it."""
    started = _load(directory)
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    for name in ("started.json", "radvd.conf", "radvd.pid", "radvd.log"):
        (directory / name).unlink(missing_ok=True)


def running(directory: Path) -> processes.ProcessRecord | None:
    """The router's radvd, if it runs."""
    started = _load(directory)
    return started.process if started is not None and started.process.alive else None


def helpers(directory: Path, pids: Iterable[int]) -> set[int]:
    """Those of the processes that the router's radvd started: what of it keeps root's rights."""
    record = running(directory)
    return {pid for pid in pids if record is not None and processes.parent(pid) == record.pid}


def _user() -> str:
    for name in ("radvd", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise HostError("failed", "radvd needs the user nobody, which this system has not")


def _load(directory: Path) -> _Started | None:
    try:
        return msgspec.json.decode((directory / "started.json").read_bytes(), type=_Started)
    except (OSError, msgspec.DecodeError):
        return None


def _save(directory: Path, started: _Started) -> None:
    processes.replace_file(directory / "started.json", msgspec.json.encode(started))


def _wait_started(record: processes.ProcessRecord, log: Path) -> None:
    descriptor = processes.open_pidfd(record)
    if descriptor is not None:
        try:
            if not processes.wait_readable(descriptor, 0.05):
                return
        finally:
            os.close(descriptor)
    processes.reap(record.pid)
    words = log.read_text(errors="replace").strip() if log.exists() else ""
    raise HostError("failed", f"radvd ended at once: {words[-400:] or 'it gave no reason'}")
