"""DHCP and DNS of one network: a dnsmasq in the network's namespace (what it is told: `dhcp_files.py`).

Ports have static addresses only; a machine whose MAC is unknown gets no answer.  The files that dnsmasq
reads again on SIGHUP (`hosts`, `options`, `names`) change without a gap in service.  It is started again only
when its arguments change, when it died, or when an address went to another MAC: dnsmasq remembers who leased
what and would refuse the new owner until the old lease ends, and a fresh one has no memory.

It keeps no lease file: with static addresses a lease says nothing that `hosts` does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import signal
from pathlib import Path

import msgspec

from cloudseed.host import binaries, dhcp_files, netns, processes, strays
from cloudseed.host.errors import HostError
from cloudseed.host.records import NetworkWish

_SEEN_AT = netns.DIRECTORY  # where dnsmasq sees its directory, in a mount namespace of its own


class _Started(msgspec.Struct, frozen=True):
    """What the running dnsmasq was started with, which MAC each address had since, and a digest of the files that it
    was told to read last: the files alone do not say it, since who wrote them may have been killed before telling."""

    process: processes.ProcessRecord
    arguments: list[str]
    addresses: dict[str, str]
    told: str = ""


def sync(namespace: str, directory: Path, wish: NetworkWish) -> bool:
    """Make dnsmasq serve the wish; true when something changed.  Call it from outside the namespace."""
    started = _load(directory)
    if not dhcp_files.wanted(wish):
        if started is None:
            return False
        stop(directory)
        return True
    texts = dhcp_files.texts(wish)
    for name, text in texts.items():
        _write_if_new(directory / name, text)
    told = hashlib.sha256(msgspec.json.encode(texts)).hexdigest()
    argv = [binaries.find("dnsmasq"), *dhcp_files.arguments(wish, _SEEN_AT, _user())]
    leases = dhcp_files.leases(texts["hosts"])
    if started is not None and started.process.alive and started.arguments == argv:
        known = {**started.addresses, **leases}
        if all(leases.get(ip, mac) == mac for ip, mac in started.addresses.items()):
            if started.told == told:
                return False
            _save(directory, _Started(started.process, argv, known))
            os.kill(started.process.pid, signal.SIGHUP)
            _save(directory, _Started(started.process, argv, known, told))
            return True
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    # one that a killed predecessor started but did not record would hold the port
    for pid, program in strays.in_namespaces([namespace]):
        if program == "dnsmasq":
            strays.end(pid)
    log = directory / "dnsmasq.log"
    log.unlink(missing_ok=True)
    record = netns.run_with_only(namespace, directory, _SEEN_AT, lambda: processes.spawn(argv, log=log, umask=0o022))
    _save(directory, _Started(record, argv, leases, told))
    _wait_started(record, log)
    return True


def stop(directory: Path) -> None:
    """End the network's dnsmasq and forget it."""
    started = _load(directory)
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    for name in ("started.json", "hosts", "options", "names", "dnsmasq.log"):
        (directory / name).unlink(missing_ok=True)


def running(directory: Path) -> processes.ProcessRecord | None:
    """The network's dnsmasq, if it runs."""
    started = _load(directory)
    return started.process if started is not None and started.process.alive else None


def _user() -> str:
    for name in ("dnsmasq", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise HostError("failed", "dnsmasq needs the user nobody, which this system has not")


def _write_if_new(path: Path, text: str) -> None:
    data = text.encode()
    if not path.exists() or path.read_bytes() != data:
        processes.replace_file(path, data, mode=0o644)
    path.chmod(0o644)


def _load(directory: Path) -> _Started | None:
    try:
        return msgspec.json.decode((directory / "started.json").read_bytes(), type=_Started)
    except (OSError, msgspec.DecodeError):
        return None


def _save(directory: Path, started: _Started) -> None:
    processes.replace_file(directory / "started.json", msgspec.json.encode(started))


def _wait_started(record: processes.ProcessRecord, log: Path) -> None:
    """Give it a moment to refuse its arguments; what it wrote then is the reason."""
    descriptor = processes.open_pidfd(record)
    if descriptor is not None:
        try:
            if not processes.wait_readable(descriptor, 0.03):
                return
        finally:
            os.close(descriptor)
    processes.reap(record.pid)
    words = log.read_text(errors="replace").strip() if log.exists() else ""
    raise HostError("failed", f"dnsmasq ended at once: {words[-400:] or 'it gave no reason'}")
