"""A control machine and hosts as processes of their own, joined by a broker and HTTP alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from cloudseed.cli.servers.rabbitmq import Broker
from cloudseed.kernel.flow.store import FlowStore
from cloudseed.ledger import checks
from tests.faults.scene import COMPUTE, Scene
from tests.support.daemon import Daemon, wait_for
from tests.support.serving import Serving

DOWN_S = 15.0  # what we promise; the machines here report each second and count as down after three
PARTS = ("nova-compute", "neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent", "cinder-volume",
         "cinder-backup")


@pytest.fixture(scope="module")
def cloud(broker: Broker) -> Iterator[Serving]:
    with Serving(broker.url) as cloud:
        cloud.start("control", "control")
        cloud.start("h1", "compute,network,storage")
        cloud.start("h2", "compute")
        yield cloud


@pytest.fixture(scope="module")
def scene(cloud: Serving) -> Scene:
    return Scene(cast(Daemon, cloud))


def alive(cloud: Serving) -> dict[str, bool]:
    """What the lists of services and agents say, by part and host."""
    api = cloud.api
    found = {f"{s['binary']} {s['host']}": s["state"] == "up" for s in api.get(f"{COMPUTE}/os-services")["services"]}
    found |= {f"{a['binary']} {a['host']}": a["alive"] for a in api.get("/networking/v2.0/agents")["agents"]}
    found |= {f"{s['binary']} {s['host']}": s["state"] == "up" for s in api.get("/volume/v3/os-services")["services"]}
    for hypervisor in api.get(f"{COMPUTE}/os-hypervisors/detail")["hypervisors"]:
        found[f"hypervisor {hypervisor['hypervisor_hostname']}"] = hypervisor["state"] == "up"
    return found


def on(cloud: Serving, host: str) -> set[bool]:
    return {up for name, up in alive(cloud).items() if name.endswith(f" {host}")}


def settled(cloud: Serving) -> dict[str, Any]:
    """The picture of all, once it is clean."""
    picture: dict[str, Any] = {}

    def clean() -> bool:
        nonlocal picture
        picture = cloud.ask("control", "ledger")
        return not checks.check(picture)

    try:
        wait_for(clean, 20, "a clean audit")
    finally:
        if wrong := checks.check(picture):
            print(wrong)
    return picture


def boot(scene: Scene, name: str, **more: Any) -> Any:
    server_id = scene.boot(name, **more)
    return wait_for(lambda: (server := scene.api.get(f"{COMPUTE}/servers/{server_id}")["server"])
                    and server["status"] in ("ACTIVE", "ERROR") and server, 30, f"server {name}")


def test_every_part_of_every_machine_is_known(cloud: Serving) -> None:
    found = wait_for(lambda: (now := alive(cloud)) and all(now.values()) and now, DOWN_S, "all parts")
    assert set(found) == {f"{part} h1" for part in PARTS} | {
        "nova-compute h2", "neutron-l2-agent h2", "neutron-dhcp-agent h2", "nova-conductor control",
        "nova-scheduler control", "cinder-scheduler control", "hypervisor h1", "hypervisor h2"}


def test_a_server_with_a_volume_on_another_machine(cloud: Serving, scene: Scene) -> None:
    hosts = set()
    for name in ("h1", "h2"):
        server = boot(scene, f"on-{name}", availability_zone=f"nova:{name}")
        assert server["status"] == "ACTIVE", server.get("fault")
        assert server["OS-EXT-SRV-ATTR:host"] == name
        hosts.add(server["id"])
    volume = scene.send("POST", "/volume/v3/volumes", {"volume": {"size": 1}})["volume"]["id"]
    path = f"/volume/v3/volumes/{volume}"
    wait_for(lambda: scene.api.get(path)["volume"]["status"] == "available", 20, "the volume")
    assert scene.api.get(path)["volume"]["os-vol-host-attr:host"].startswith("h1@")
    settled(cloud)
    for server_id in hosts:
        scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
    scene.send("DELETE", path)
    wait_for(lambda: not scene.api.get(f"{COMPUTE}/servers")["servers"]
             and not scene.api.get("/volume/v3/volumes")["volumes"], 20, "all to be gone")
    settled(cloud)


def test_a_killed_machine_is_said_to_be_down(cloud: Serving) -> None:
    wait_for(lambda: on(cloud, "h1") == {True}, DOWN_S, "h1 to be up")
    began = time.monotonic()
    cloud.stop("h1", signal.SIGKILL)
    wait_for(lambda: on(cloud, "h1") == {False}, DOWN_S, "h1 to be down")
    took = time.monotonic() - began
    assert on(cloud, "h2") == {True} and on(cloud, "control") == {True} and took < DOWN_S
    cloud.restart("h1")
    wait_for(lambda: on(cloud, "h1") == {True}, DOWN_S, "h1 to be up again")


def test_hosts_outlive_their_controller(cloud: Serving, scene: Scene) -> None:
    assert cloud.stop("control") == 0
    time.sleep(1.5)  # hosts miss at least one report
    cloud.restart("control")
    wait_for(lambda: all(alive(cloud).values()), DOWN_S, "all parts")
    server = boot(scene, "later")
    assert server["status"] == "ACTIVE", server.get("fault")
    scene.send("DELETE", f"{COMPUTE}/servers/{server['id']}")
    wait_for(lambda: not scene.api.get(f"{COMPUTE}/servers")["servers"], 20, "the server to be gone")
    settled(cloud)


def test_agents_have_no_database(cloud: Serving) -> None:
    for name in ("h1", "h2"):
        assert not list(cloud.state(name).rglob("*.sqlite")), name


def test_a_boot_is_one_flow_across_processes(cloud: Serving, scene: Scene) -> None:
    scene.api = cloud.api  # requests with one token are one flow
    server = boot(scene, "drawn", availability_zone="nova:h2")
    assert server["status"] == "ACTIVE", server.get("fault")
    scene.send("DELETE", f"{COMPUTE}/servers/{server['id']}")
    wait_for(lambda: not scene.api.get(f"{COMPUTE}/servers")["servers"], 20, "the server to be gone")
    cloud.ask("control", "flush")
    time.sleep(1.0)  # the hosts' share is on its way twice a second
    cloud.ask("control", "flush")
    store = FlowStore(cloud.state("control") / "control" / "flows.sqlite", readonly=True)
    try:
        flow = store.last_changed()
        assert flow is not None
        exchanges = store.exchanges(flow)
    finally:
        store.close()
    pairs = [(e.caller, e.callee) for e in exchanges]
    wanted = [("openstack", "nova-api"), ("nova-conductor", "nova-scheduler"), ("nova-scheduler", "placement-api"),
              ("nova-conductor", "nova-compute"), ("nova-compute", "neutron-server")]
    places = [pairs.index(pair) for pair in wanted]
    assert places == sorted(places), [f"{a}->{b}" for a, b in pairs]
    # what a host's part asked is the part's, once, and no client's
    ports = [e for e in exchanges if (e.caller, e.callee, e.method) == ("nova-compute", "neutron-server", "POST")]
    assert len(ports) == 1 and ports[0].status == 201
    assert not [e for e in exchanges if e.caller == "openstack" and e.callee == "placement-api"]
