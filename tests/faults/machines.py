"""What the tests of real machines see of the host: processes, namespaces, guests that answer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon, wait_for

PING_SECONDS = 90.0


def namespace(cloud: Daemon, network_id: str) -> str:
    return f"{cloud.config.name}-net-{network_id.replace('-', '')[:12]}"


def answers(space: str, address: str) -> bool:
    """Whether a guest answers one ping from within its network's namespace."""
    command = ["ip", "netns", "exec", space, "ping", "-n", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True).returncode == 0


def wait_answer(space: str, address: str) -> None:
    wait_for(lambda: answers(space, address), PING_SECONDS, f"{address} to answer in {space}")


def router(cloud: Daemon, network_id: str, cidr: str) -> str:
    """A router between a network and an external one of that range; its id.  The host's end is wired."""
    base, api = "/networking/v2.0", cloud.api

    def make(kind: str, **values: Any) -> Any:
        return api.send("POST", f"{base}/{kind}s", {kind: values})[kind]

    public = make("network", name="outside", **{"router:external": True})
    make("subnet", network_id=public["id"], ip_version=4, cidr=cidr, enable_dhcp=False)
    subnets = api.get(f"{base}/subnets?network_id={network_id}&ip_version=4")["subnets"]
    made: str = make("router", name="r", external_gateway_info={"network_id": public["id"]})["id"]
    joined = api.send("PUT", f"{base}/routers/{made}/add_router_interface", {"subnet_id": subnets[0]["id"]})
    wait_for(lambda: api.get(f"{base}/ports/{joined['port_id']}")["port"]["status"] == "ACTIVE", 15, "the router")
    return made


def kill(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not runs(pid), 10, f"process {pid} to end")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def netns_names() -> set[str]:
    return {line.split()[0] for line in _output("ip", "netns").splitlines() if line}


def delete_namespace(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], check=True)


def traces(cloud: Daemon) -> dict[str, Any]:
    """Everything on this machine that a cloud could leave: what is there, without what names other test clouds."""
    others = re.compile(r"(inet )?(cs|t)[0-9a-f]{4,6}(h[0-9a-g])?(-|$)")  # of many hosts: each has a name with a digit
    mine = cloud.config.name
    spaces = {name for name in netns_names() if name.startswith((f"{mine}-", f"{mine}h")) or not others.match(name)}
    return {
        "namespaces": spaces,
        "links": {name for line in _output("ip", "-o", "link").splitlines()
                  if (name := line.split(": ")[1].split("@")[0]).startswith(mine) or not others.match(name)},
        "nft": {table for line in _output("nft", "list", "tables").splitlines()
                if line and (mine in (table := line.removeprefix("table ")) or not others.match(table))},
        "forwarding": {Path("/proc/sys/net/ipv4/ip_forward").read_text()},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
                   if not others.match(Path(line.split()[4]).name) or f"{mine}-" in line or f"{mine}h" in line},
        "processes": _processes(cloud),
        "files": {str(path) for path in cloud.state.parent.glob("**/*") if cloud.state in (path, *path.parents)},
        "shared memory": set(os.listdir("/dev/shm")),
    }


def _processes(cloud: Daemon) -> set[str]:
    """Processes whose command, directory, open files or environment name the cloud's state directory."""
    found = set()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal() or int(directory.name) == os.getpid():
            continue
        try:
            text = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
            links = [os.readlink(directory / name) for name in ("cwd", "root", "exe")]
            links += [os.readlink(descriptor) for descriptor in (directory / "fd").iterdir()]
        except OSError:
            continue
        if str(cloud.state).encode() in text or any(str(cloud.state) in link for link in links):
            found.add(f"{directory.name} {text[:200]!r}")
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
