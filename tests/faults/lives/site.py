"""A cloud in which many lives go on at once, of one process or of many hosts."""

from __future__ import annotations

from typing import Any, cast

from cloudseed.cli.api import Api
from cloudseed.kernel.config import load_secrets
from tests.faults.scene import NETWORK, Scene
from tests.support.daemon import Daemon

PATIENCE_S = 120.0
_VOLUME = "/volume/v3"


class ManyLives(Scene):
    """There is room for all, and whoever waits is patient.  `cloud.settle` of one life does not wait for the others.

    `connector`: where volumes are attached."""

    connector: dict[str, str]

    def __init__(self, cloud: Daemon) -> None:
        super().__init__(cloud)
        self.daemon = cloud
        self.cloud = cast(Daemon, _Unhurried(cloud))
        self.latest = Api(cloud.url, "admin", load_secrets(cloud.state).passwords["admin"], "admin",
                          {"OpenStack-API-Version": "compute 2.90"})
        volumes = dict.fromkeys(("volumes", "gigabytes", "snapshots", "backups", "backup_gigabytes"), -1)
        self.send("PUT", f"{_VOLUME}/os-quota-sets/{self.project_id}", {"quota_set": volumes})
        networks = dict.fromkeys(("network", "subnet", "port", "router"), -1)
        self.send("PUT", f"{NETWORK}/quotas/{self.project_id}", {"quota": networks})

    def wait_status(self, server_id: str, status: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        return super().wait_status(server_id, status, max(seconds, PATIENCE_S))

    def wait_gone(self, server_id: str, seconds: float = PATIENCE_S) -> None:
        super().wait_gone(server_id, max(seconds, PATIENCE_S))

    def kill(self, victim: str) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        """Start what does not run."""
        raise NotImplementedError

    def storage(self, picture: Any) -> dict[str, Any]:
        """What the host that has the volumes holds."""
        raise NotImplementedError

    def machines_wrong(self, picture: Any) -> list[str]:
        """What is wrong with the pretended machines, which the ledger does not see."""
        raise NotImplementedError


class OneProcess(ManyLives):
    """The embedded shape."""

    connector = {"host": "localhost"}

    def kill(self, victim: str) -> None:
        assert victim == "control"
        self.daemon.kill_control()

    def mend(self) -> None:
        self.daemon.start()

    def storage(self, picture: Any) -> dict[str, Any]:
        found: dict[str, Any] = picture["host"]
        return found

    def machines_wrong(self, picture: Any) -> list[str]:
        return self.daemon.fake_machines_wrong(picture)


class _Unhurried:
    def __init__(self, cloud: Daemon) -> None:
        self._cloud = cloud

    def settle(self, seconds: float = 0.0) -> Any:
        """Nothing: whoever has many lives at once waits for them together."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cloud, name)
