"""What is done to volumes, with real files, exports and storage daemons: none is left over, and none is missing."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.cinder.backup_work import BackupWork
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.snapshots import SnapshotWork
from cloudseed.cinder.volume_work import VolumeWork
from cloudseed.cli.api import Api
from cloudseed.kernel.config import load_secrets
from cloudseed.kernel.operations import OperationType
from cloudseed.ledger import checks
from cloudseed.ledger.violations import operations
from tests.faults.lives.servers import distinct_points
from tests.support.daemon import Daemon, wait_for

VOLUME = "/volume/v3"
_nobody: Any = SimpleNamespace()
TYPES: dict[str, OperationType] = {kind.kind: kind for work in (VolumeWork, SnapshotWork, ExportWork, BackupWork)
                                   for kind in work(_nobody).types()}
CHAPTERS: dict[str, list[str]] = {
    "create": distinct_points(TYPES["cinder.create"]),
    "connect": distinct_points(TYPES["cinder.connect"]),
    "snapshot": distinct_points(TYPES["cinder.snapshot.create"]),  # of a volume in use
    "disconnect": distinct_points(TYPES["cinder.disconnect"]),
    "extend": distinct_points(TYPES["cinder.extend"]),
    "upload": distinct_points(TYPES["cinder.upload"]),
    "delete_snapshot": distinct_points(TYPES["cinder.snapshot.delete"]),
    "back_up": distinct_points(TYPES["cinder.backup.create"]),
    "restore": distinct_points(TYPES["cinder.backup.restore"]),
    "delete_backup": distinct_points(TYPES["cinder.backup.delete"]),
    "delete": distinct_points(TYPES["cinder.delete"]),
}


class Life:
    """One volume's chapters: each `<chapter>` orders, each `<chapter>_ends` says what must be after the restart."""

    patience_s = 30.0

    def __init__(self, cloud: Daemon, number: int) -> None:
        self.cloud = cloud
        version = {"OpenStack-API-Version": "volume 3.71"}
        passwords = load_secrets(cloud.state).passwords
        self.api = Api(cloud.url, "admin", passwords["admin"], "admin", version)
        self.nova = Api(cloud.url, "nova", passwords["nova"], "service", version)
        self.name = f"life-{number}"
        self.ids: dict[str, str] = {}
        self.wrong: list[checks.Violation] = []

    # ---- looking

    def find(self, kind: str) -> dict[str, Any] | None:
        found = self.api.get(f"{VOLUME}/{kind}s/detail?name={self.name}&all_tenants=1")[f"{kind}s"]
        assert len(found) <= 1
        return found[0] if found else None

    def wait(self, kind: str, status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            thing = self.find(kind)
            assert thing is None or not thing["status"].startswith("error"), thing
            return thing if thing is not None and thing["status"] == status else None

        found: dict[str, Any] = wait_for(look, self.patience_s, f"{kind} {self.name} to be {status}")
        return found

    def host(self) -> dict[str, Any]:
        found: dict[str, Any] = self.settle()["host"]
        return found

    def settle(self) -> dict[str, Any]:
        """Until no operation is open and the audit is clean; the attachments here are of servers that never were."""
        def look() -> dict[str, Any] | None:
            picture: dict[str, Any] = self.cloud.ask("ledger")
            self.wrong = [v for v in checks.check(picture) if v.rule != "attachment-without-server"]
            return picture if not self.wrong and not list(operations(picture)) else None

        try:
            found: dict[str, Any] = wait_for(look, self.patience_s, "the cloud to come to rest")
        except pytest.fail.Exception:
            pytest.fail(f"the audit says {self.wrong}")
        return found

    # ---- chapters; each finds what the ones before it left, or makes it

    def prepare(self, chapter: str) -> None:
        if chapter != "create" and self.find("volume") is None:
            self.create()
            self.wait("volume", "available")
        volume = self.find("volume")
        if volume is not None:
            self.ids["volume"] = volume["id"]
        if chapter in ("snapshot", "disconnect") and "attachment" not in self.ids:
            self.connect()
        if chapter == "delete_snapshot" and self.find("snapshot") is None:
            self.snapshot()
            self.wait("snapshot", "available")
        if chapter in ("restore", "delete_backup") and self.find("backup") is None:
            self.back_up()
            self.wait("backup", "available")
        if chapter == "delete" and self.find("snapshot") is not None:
            self.delete_snapshot()
            wait_for(lambda: self.find("snapshot") is None, self.patience_s, "the snapshot to be gone")

    def create(self) -> None:
        self.api.send("POST", f"{VOLUME}/volumes", {"volume": {"size": 1, "name": self.name}})

    def create_ends(self) -> None:
        self.ids["volume"] = self.wait("volume", "available")["id"]
        assert self.ids["volume"] in self.host()["volumes"]

    def connect(self) -> None:
        place = self._send("POST", "/attachments", {"attachment": {
            "volume_uuid": self.ids["volume"], "instance_uuid": str(uuid.uuid4())}})["attachment"]["id"]
        self.ids["attachment"] = place
        self._connected()

    def connect_ends(self) -> None:
        """Nova asks again, as it does."""
        self._connected()
        assert self.host()["exports"] == {self.ids["attachment"]: self.ids["volume"]}

    def _connected(self) -> None:
        place = self.ids["attachment"]
        self._send("PUT", f"/attachments/{place}", {"attachment": {"connector": {"host": "localhost"}}})
        self._send("POST", f"/attachments/{place}/action", {"os-complete": None})

    def snapshot(self) -> None:
        self.api.send("POST", f"{VOLUME}/snapshots", {"snapshot": {
            "volume_id": self.ids["volume"], "name": self.name, "force": True}})

    def snapshot_ends(self) -> None:
        assert self.wait("snapshot", "available")["id"] in self.host()["snapshots"]

    def disconnect(self) -> None:
        self._send("DELETE", f"/attachments/{self.ids['attachment']}")

    def disconnect_ends(self) -> None:
        self.ids.pop("attachment")
        self.wait("volume", "available")
        host = self.host()
        assert (host["exports"], host["exporter_pids"]) == ({}, {})

    def extend(self) -> None:
        self.api.send("POST", f"{VOLUME}/volumes/{self.ids['volume']}/action", {"os-extend": {"new_size": 2}})

    def extend_ends(self) -> None:
        assert self.wait("volume", "available")["size"] == 2

    def upload(self) -> None:
        order = {"os-volume_upload_image": {"image_name": self.name, "disk_format": "qcow2"}}
        self.api.send("POST", f"{VOLUME}/volumes/{self.ids['volume']}/action", order)

    def upload_ends(self) -> None:
        self.wait("volume", "available")
        host = self.host()
        assert host["packs"] == []
        images = self.api.get(f"/image/v2/images?name={self.name}")["images"]
        assert [image["status"] for image in images] == ["active"]
        self.api.send("DELETE", f"/image/v2/images/{images[0]['id']}")

    def delete_snapshot(self) -> None:
        found = self.find("snapshot")
        assert found is not None
        self.api.send("DELETE", f"{VOLUME}/snapshots/{found['id']}")

    def delete_snapshot_ends(self) -> None:
        wait_for(lambda: self.find("snapshot") is None, self.patience_s, "the snapshot to be gone")
        assert self.host()["snapshots"] == []

    def back_up(self) -> None:
        self.api.send("POST", f"{VOLUME}/backups", {"backup": {"volume_id": self.ids["volume"], "name": self.name}})

    def back_up_ends(self) -> None:
        backup = self.wait("backup", "available")
        self.wait("volume", "available")
        objects = self.settle()["swift"]["objects"]
        assert len([o for o in objects if backup["id"] in o["name"]]) == backup["object_count"]

    def restore(self) -> None:
        backup = self.find("backup")
        assert backup is not None
        self.api.send("POST", f"{VOLUME}/backups/{backup['id']}/restore", {"restore": {
            "volume_id": self.ids["volume"]}})

    def restore_ends(self) -> None:
        self.wait("backup", "available")
        self.wait("volume", "available")

    def delete_backup(self) -> None:
        backup = self.find("backup")
        assert backup is not None
        self.api.send("DELETE", f"{VOLUME}/backups/{backup['id']}")

    def delete_backup_ends(self) -> None:
        wait_for(lambda: self.find("backup") is None, self.patience_s, "the backup to be gone")
        assert not [o for o in self.settle()["swift"]["objects"] if o["container"] == "volumebackups"]

    def delete(self) -> None:
        self.api.send("DELETE", f"{VOLUME}/volumes/{self.ids['volume']}")

    def delete_ends(self) -> None:
        wait_for(lambda: self.find("volume") is None, self.patience_s, "the volume to be gone")
        assert self.host()["volumes"] == []

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        """As nova does: with its own token."""
        return self.nova.send(method, f"{VOLUME}{path}", body)
