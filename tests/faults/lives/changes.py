"""What changes a server that stands: an interface comes and goes, an address, another flavor that is taken back and one
that stays, the shelf and back."""

from __future__ import annotations

from typing import Any

from tests.faults.scene import Scene

COMPUTE = "/compute/v2.1"
CHAPTERS = ("attach_interface", "detach_interface", "add_fixed_ip", "remove_fixed_ip", "resize", "revert_resize",
            "confirm_resize", "shelve", "unshelve", "shelve_offload")


class Life:
    """One server; each `<chapter>` orders, each `<chapter>_ends` says what must be after the restart."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.server_id = scene.boot(f"changes-{number}")
        self.server = scene.wait_status(self.server_id, "ACTIVE")
        self.flavor = scene.send("POST", f"{COMPUTE}/flavors", {"flavor": {
            "name": f"larger-{number}", "vcpus": 2, "ram": 512, "disk": 2}})["flavor"]["id"]

    def prepare(self, chapter: str) -> None:
        """The state that the chapter begins in; nothing is armed to go off on the way there."""
        status = self.scene.server(self.server_id)["status"]  # type: ignore[index]
        if status == "SHELVED_OFFLOADED" and chapter != "unshelve":
            self.scene.act(self.server_id, "unshelve")
            self.scene.wait_status(self.server_id, "ACTIVE")
        if chapter == "unshelve" and status == "ACTIVE":
            self.scene.act(self.server_id, "shelve")
            self.scene.wait_status(self.server_id, "SHELVED_OFFLOADED")
        if chapter == "detach_interface" and len(self.ports()) == 1:
            self.attach_interface("")
        if chapter == "remove_fixed_ip" and len(self.addresses()) == 1:
            self.add_fixed_ip("")
        if chapter in ("revert_resize", "confirm_resize") and status == "ACTIVE":
            self.resize("")
            self.scene.wait_status(self.server_id, "VERIFY_RESIZE")
        self.scene.cloud.settle()

    def ports(self) -> list[Any]:
        return list(self.scene.ports_of(self.server_id))

    def addresses(self) -> list[str]:
        found = self.scene.api.get(f"{COMPUTE}/servers/{self.server_id}/ips")["addresses"]
        return [address["addr"] for items in found.values() for address in items]

    def act(self, action: str, value: Any = None) -> None:
        self.scene.act(self.server_id, action, value)

    def attach_interface(self, point: str) -> None:
        self.scene.send("POST", f"{COMPUTE}/servers/{self.server_id}/os-interface", {
            "interfaceAttachment": {"net_id": self.scene.network_id}})

    def attach_interface_ends(self) -> None:
        self.scene.cloud.settle()
        assert len(self.ports()) == 2 == len(self.addresses())

    def detach_interface(self, point: str) -> None:
        shown = self.scene.api.get(f"{COMPUTE}/servers/{self.server_id}/os-interface")["interfaceAttachments"]
        self.scene.send("DELETE", f"{COMPUTE}/servers/{self.server_id}/os-interface/{shown[-1]['port_id']}")

    def detach_interface_ends(self) -> None:
        self.scene.cloud.settle()
        assert len(self.ports()) == 1 == len(self.addresses())

    def add_fixed_ip(self, point: str) -> None:
        self.act("addFixedIp", {"networkId": self.scene.network_id})

    def add_fixed_ip_ends(self) -> None:
        self.scene.cloud.settle()
        assert len(self.addresses()) == 2

    def remove_fixed_ip(self, point: str) -> None:
        self.act("removeFixedIp", {"address": self.addresses()[-1]})

    def remove_fixed_ip_ends(self) -> None:
        self.scene.cloud.settle()
        assert len(self.addresses()) == 1

    def resize(self, point: str) -> None:
        self.act("resize", {"flavorRef": self.flavor})

    def resize_ends(self) -> None:
        self.scene.wait_status(self.server_id, "VERIFY_RESIZE")

    def revert_resize(self, point: str) -> None:
        self.act("revertResize")

    def revert_resize_ends(self) -> None:
        assert self.scene.wait_status(self.server_id, "ACTIVE")["flavor"] == self.server["flavor"]

    def confirm_resize(self, point: str) -> None:
        self.act("confirmResize")

    def confirm_resize_ends(self) -> None:
        shown = self.scene.wait_status(self.server_id, "ACTIVE")
        assert shown["flavor"] != self.server["flavor"]

    def shelve(self, point: str) -> None:
        self.act("shelve")

    shelve_offload = shelve  # which a shelve orders

    def shelve_ends(self) -> None:
        self.scene.wait_status(self.server_id, "SHELVED_OFFLOADED")

    shelve_offload_ends = shelve_ends

    def unshelve(self, point: str) -> None:
        self.act("unshelve")

    def unshelve_ends(self) -> None:
        self.scene.wait_status(self.server_id, "ACTIVE")
