"""`down --purge` leaves the machine as it was: compared, namespace by namespace, link by link, file by file."""

from __future__ import annotations

import pytest

from tests.faults import machines
from tests.faults.scene import Scene
from tests.support.daemon import Daemon, needs_root

pytestmark = [pytest.mark.real, needs_root]


@pytest.mark.parametrize("alive", [True, False], ids=["running", "after-its-processes-died"])
def test_purge_leaves_nothing(alive: bool) -> None:
    cloud = Daemon(driver="qemu")
    before = machines.traces(cloud)
    with cloud:
        scene = Scene(cloud)
        scene.wait_status(scene.boot("vm"), "ACTIVE", 60)
        machines.router(cloud, scene.network_id, "198.19.0.0/24")
        during = machines.traces(cloud)
        # the guest's network, the outer one, the router; the host's end of the outer one, and its rules
        assert len(during["namespaces"] - before["namespaces"]) == 3
        assert machines.namespace(cloud, scene.network_id) in during["namespaces"]
        assert len(during["links"] - before["links"]) == 1 and len(during["nft"] - before["nft"]) == 1
        # the host process, the control process, a QEMU and a dnsmasq at least
        assert len(during["processes"]) >= 3 and during["files"]
        if not alive:
            cloud.kill_control()
            cloud.kill_host()
        done = cloud.cloudseed("down", "--purge", "--clouds-yaml", str(cloud.state.parent / "clouds.yaml"))
        assert "gone" in done.stdout
        after = machines.traces(cloud)
        left = {kind: sorted(after[kind] - before[kind]) for kind in before}
        assert not any(left.values()), left
        assert not cloud.state.exists()
