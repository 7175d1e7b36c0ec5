"""The pictures of many hosts: who is asked, and what stands for one that does not answer."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.bus import Bus, InProcessEngine
from cloudseed.kernel.config import Config
from cloudseed.kernel.flow.recorder import FlowRecorder
from cloudseed.kernel.host_pictures import HostPictures


class Inventory(msgspec.Struct):
    machines: list[str]


class Host:
    def __init__(self, *machines: str) -> None:
        self.machines = list(machines)

    async def get_inventory(self) -> Inventory:
        if not self.machines:
            raise RuntimeError("the host process is gone")
        return Inventory(self.machines)


def pictures(engine: InProcessEngine, name: str, host: Any, computes: int = 1) -> HostPictures:
    config = Config(host=name, computes=computes, driver="qemu")
    return HostPictures(config, host, Bus("cloudseed-audit", engine, FlowRecorder(None)))


def agents(*names: str, up: bool = True) -> list[dict[str, Any]]:
    return [{"host": name, "binary": "nova-compute", "up": up} for name in names]


async def test_every_host_tells_what_it_has() -> None:
    engine = InProcessEngine()
    for name in ("one", "two"):
        pictures(engine, name, Host(f"vm-{name}")).serve()
    found = await pictures(engine, "control", None).others(
        {"nova": {"agents": agents("one", "two")}, "neutron": {"agents": agents("two")}, "taken_at": 1.0})
    assert [(host["name"], host["machines"]) for host in found] == [("one", ["vm-one"]), ("two", ["vm-two"])]
    assert all(host["runs_servers"] for host in found)


async def test_a_silent_host_is_said_to_be_one() -> None:
    engine = InProcessEngine()
    pictures(engine, "broken", Host()).serve()
    picture = {"nova": {"agents": agents("away", up=False)},
               "neutron": {"agents": [*agents("gone", "broken"), *agents("away", up=False)]}}
    found = {host["name"]: host for host in await pictures(engine, "control", None).others(picture)}
    assert found["away"]["error"] and found["away"]["services_up"] is False
    assert found["gone"]["error"] and found["gone"]["services_up"] is True
    assert found["broken"]["error"] == "the host process is gone" and "machines" not in found["broken"]


async def test_a_process_of_several_hosts_answers_for_all_and_nobody_asks_itself() -> None:
    engine = InProcessEngine()
    mine = pictures(engine, "here", Host("vm"), computes=2)
    mine.serve()
    assert await mine.others({"nova": {"agents": agents("here", "here-2")}}) == []
    found = await pictures(engine, "control", None).others({"nova": {"agents": agents("here", "here-2")}})
    assert [host["name"] for host in found] == ["here"]
