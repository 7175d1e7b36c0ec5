"""RabbitMQ away for seconds and for long, and back empty: work is late, none is lost, nothing is left over.

A control process and one host, each a process of its own.  "For long" is longer than after which a host counts as
down (here 6 s, 60 s by default): what ten minutes do is the same, only that everybody waits ten minutes.  Nothing in
the engine or in the queues depends on how long it was until a queue expires, after half an hour without a consumer.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from cloudseed.cli.servers import rabbitmq
from cloudseed.ledger import checks
from tests.faults.scene import COMPUTE, NETWORK, Scene
from tests.support.broker import broker_directory, make_broker
from tests.support.daemon import Daemon, wait_for
from tests.support.serving import Serving

VOLUME = "/volume/v3"
AWAY_S = 10.0
LONG_AWAY_S = 9.0  # longer than after which a hasty cloud's host counts as down
STOOD_STILL_S = 13.0  # longer than the engine's STOPPED_S


@pytest.fixture(scope="module")
def broker_of_ours() -> Iterator[rabbitmq.Broker]:
    if not rabbitmq.is_installed():
        pytest.skip("RabbitMQ is not installed")
    directory = broker_directory()
    made = make_broker(directory)
    rabbitmq.start(made)
    rabbitmq.wait_ready(made)
    yield made
    rabbitmq.stop(made.directory, at_once=True)
    shutil.rmtree(directory)


class Away:
    """A cloud of two processes, and the broker between them."""

    def __init__(self, broker: rabbitmq.Broker, cloud: Serving) -> None:
        self.broker = broker
        self.cloud = cloud
        cloud.start("control", "control")
        cloud.start("h1", "compute,network,storage")
        self.scene = Scene(cast(Daemon, cloud))
        self.wait_all_up()

    def host_is(self) -> str:
        found = self.scene.api.get(f"{COMPUTE}/os-services?binary=nova-compute")["services"]
        return str(found[0]["state"]) if found else "unknown"

    def wait_all_up(self) -> None:
        """Until the host's network agents are alive too: a boot that is ordered before may rightly be refused."""
        def look() -> bool:
            agents = self.scene.api.get(f"{NETWORK}/agents")["agents"]
            return self.host_is() == "up" and bool(agents) and all(agent["alive"] for agent in agents)

        wait_for(look, 40, "h1 to be up")

    def stop(self) -> None:
        rabbitmq.stop(self.broker.directory, at_once=True)

    def start(self) -> None:
        rabbitmq.start(self.broker)
        rabbitmq.wait_ready(self.broker)

    def ended(self, server_id: str, seconds: float = 150) -> dict[str, Any]:
        """The server once nothing is under way with it."""
        def done() -> Any:
            server = self.scene.server(server_id)
            return server and server["status"] in ("ACTIVE", "ERROR", "SHUTOFF") and (
                server["OS-EXT-STS:task_state"] is None) and server

        found: dict[str, Any] = wait_for(done, seconds, f"server {server_id} to come to rest")
        return found

    def clean(self) -> None:
        picture: dict[str, Any] = {}

        def look() -> bool:
            nonlocal picture
            picture = self.cloud.ask("control", "ledger")
            return not checks.check(picture)

        try:
            wait_for(look, 30, "a clean audit")
        finally:
            print(*checks.check(picture), sep="\n")

    def remove(self, *server_ids: str) -> None:
        for server_id in server_ids:
            self.scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
        wait_for(lambda: not any(self.scene.server(server_id) for server_id in server_ids), 30, "servers to be gone")


@pytest.fixture
def patient(broker_of_ours: rabbitmq.Broker) -> Iterator[Away]:
    """A cloud that does not count a host as down that soon."""
    with Serving(broker_of_ours.url, service_down_s=45.0) as cloud:
        yield Away(broker_of_ours, cloud)


@pytest.fixture
def hasty(broker_of_ours: rabbitmq.Broker) -> Iterator[Away]:
    """A cloud that soon counts a host as down."""
    with Serving(broker_of_ours.url, service_down_s=6.0) as cloud:
        yield Away(broker_of_ours, cloud)


def test_away_for_ten_seconds(patient: Away) -> None:
    running = patient.scene.boot("running")
    assert patient.ended(running)["status"] == "ACTIVE"
    patient.stop()
    began = time.monotonic()
    waiting = patient.scene.boot("waiting")  # orders are taken meanwhile
    stopping = patient.scene.boot("doomed")
    patient.scene.act(running, "os-stop")
    patient.scene.send("DELETE", f"{COMPUTE}/servers/{stopping}")
    while time.monotonic() - began < AWAY_S:
        assert patient.scene.server(running)
        time.sleep(0.5)
    patient.start()
    found = patient.ended(waiting)
    assert found["status"] == "ACTIVE", found.get("fault")
    assert patient.ended(running)["status"] == "SHUTOFF"
    wait_for(lambda: patient.scene.server(stopping) is None, 30, "the deleted one to be gone")
    patient.clean()
    patient.remove(running, waiting)
    patient.clean()


def test_a_host_that_stood_still_begins_nothing_stale(hasty: Away) -> None:
    process = hasty.cloud.processes["h1"]
    running, doomed = hasty.scene.boot("running"), hasty.scene.boot("doomed")
    assert hasty.ended(running)["status"] == hasty.ended(doomed)["status"] == "ACTIVE"
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        ordered = hasty.scene.boot("ordered")  # these go into the socket of a process that does not read it
        hasty.scene.act(running, "os-stop")
        hasty.scene.send("DELETE", f"{COMPUTE}/servers/{doomed}")
        wait_for(lambda: hasty.host_is() == "down", 30, "h1 to count as down")
        time.sleep(max(0.0, STOOD_STILL_S - (time.monotonic() - began)))
    finally:
        process.send_signal(signal.SIGCONT)
    hasty.wait_all_up()
    wait_for(lambda: hasty.scene.server(doomed) is None, 60, "the deleted one to be gone")
    hasty.ended(ordered)
    hasty.ended(running)
    hasty.clean()
    assert "stood still" in hasty.cloud.log("h1")


def test_away_for_long_and_back_empty(hasty: Away) -> None:
    running = hasty.scene.boot("running")
    assert hasty.ended(running)["status"] == "ACTIVE"
    hasty.stop()
    began = time.monotonic()
    ordered = [hasty.scene.boot("at once")]
    while time.monotonic() - began < LONG_AWAY_S:
        assert hasty.host_is() == "up"  # nobody can say anything else
        time.sleep(0.5)
    ordered.append(hasty.scene.boot("late"))
    volume = {"volume": {"name": "late", "size": 1}}
    volume_id = hasty.scene.send("POST", f"{VOLUME}/volumes", volume)["volume"]["id"]
    time.sleep(2)  # somebody may look at them
    rabbitmq.empty(hasty.broker.directory)
    hasty.start()
    ordered.append(hasty.scene.boot("first after it"))
    for server_id in ordered:
        found = hasty.ended(server_id)
        assert found["status"] == "ACTIVE", found.get("fault")
    wait_for(lambda: hasty.scene.api.get(f"{VOLUME}/volumes/{volume_id}")["volume"]["status"] == "available", 60,
             "the volume to be made")
    assert hasty.ended(running)["status"] == "ACTIVE"  # of that, nobody touched the machine
    hasty.clean()
    hasty.scene.send("DELETE", f"{VOLUME}/volumes/{volume_id}")
    hasty.remove(running, *ordered)
    hasty.clean()
