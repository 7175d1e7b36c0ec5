"""A database of which every n-th write fails, and clocks of the control process and of the database that are set while
they run; above them a cloud of two hosts, of which people order all the time."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.clocks import FAKETIME, Clock

from cloudseed.cli.api import ApiError
from cloudseed.cli.hosts import servers
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.steady import VOLUME, Steady
from tests.faults.many.test_lost_hosts import PATIENCE_S, Cloud3
from tests.faults.scene import COMPUTE, NETWORK
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]


@pytest.fixture(scope="module")
def cloud2() -> Iterator[Cloud3]:
    with Daemon(driver="fake", hosts=2) as started:
        yield Cloud3(started)


def test_every_thirteenth_write_fails(cloud2: Cloud3) -> None:
    cloud = cloud2.cloud
    cloud.kill_control()
    cloud.start({"CLOUDSEED_DATABASE_FAULTS": "every=13"})
    steady = Steady(cloud2, "flaky")
    with steady.at_work():
        steady.go_on(boot=2, live_migration=1, delete=1)
        wait_for(lambda: steady.refused[503] > 1, PATIENCE_S, "refusals")
    print(steady.taken, steady.refused)
    steady.all_ended()
    cloud.kill_control()
    cloud.start()
    cloud.settle(PATIENCE_S)
    steady.remove_all()


@pytest.fixture
def clocks(cloud2: Cloud3, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Clock]]:
    """Of the control process and of the database, which are started anew with them, and without them in the end."""
    cloud, run = cloud2.cloud, subprocess.run
    made = {name: Clock(cloud.state.parent / f"clock-{name}") for name in ("control", "database")}

    def run_with_clock(arguments: list[Any], **options: Any) -> Any:
        if Path(arguments[0]).name == "pg_ctl":
            options["env"] |= made["database"].environment
        return run(arguments, **options)

    def restart(environment: dict[str, str]) -> None:
        cloud.kill_control()
        servers.database(cloud.state, cloud2.site.shape).stop()
        cloud.start(environment)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", run_with_clock)
        restart(made["control"].environment)
    try:
        yield made
    finally:
        restart({})


@pytest.mark.skipif(FAKETIME is None, reason="needs the package faketime")
def test_clocks_are_set_while_all_runs(cloud2: Cloud3, clocks: dict[str, Clock]) -> None:
    """An hour forward, two back, one forward: of the control process, then of the database."""
    steady = Steady(cloud2, "clock")

    def all_up() -> None:
        for path, kind, word in ((f"{COMPUTE}/os-services", "services", "state"),
                                 (f"{VOLUME}/os-services", "services", "state"),
                                 (f"{NETWORK}/agents", "agents", "alive")):
            parts = steady.ask(path)[kind]
            assert all(part[word] in ("up", True) for part in parts), parts

    with steady.at_work():
        steady.go_on(all_up, boot=1)
        for name, clock in clocks.items():
            for off in ("+1h", "-1h", "+0"):
                before = cloud2.cloud.api
                clock.set(off)
                if name == "control":
                    assert is_good(before) == (off == "-1h")  # an hour is a token's life
                steady.go_on(all_up, boot=1, live_migration=1)
                if name == "database":
                    wait_for(lambda: hours_off(steady) == float(off[:2]), PATIENCE_S, f"reports of {off}")
    print(steady.taken, steady.refused)
    assert set(steady.refused) <= {401, 503}  # PostgreSQL's own patience is by its clock
    cloud2.api = cloud2.cloud.api  # the old token was too old for a moment: that is remembered for ten seconds
    steady.all_ended()
    cloud2.cloud.settle(PATIENCE_S)
    steady.remove_all()


def hours_off(steady: Steady) -> float:
    """How far the newest report of a compute is from our time."""
    told = [service["updated_at"] for service in steady.ask(f"{COMPUTE}/os-services?binary=nova-compute")["services"]]
    newest = datetime.datetime.fromisoformat(max(told)).replace(tzinfo=datetime.UTC)
    return round((newest - datetime.datetime.now(datetime.UTC)).total_seconds() / 3600, 1)


def is_good(api: Any) -> bool:
    """Whether its token is taken."""
    try:
        api.get(f"{COMPUTE}/flavors")
    except ApiError as exc:
        assert ": 401 " in str(exc)
        return False
    return True
