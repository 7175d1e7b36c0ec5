"""What images and flavors may ask of a machine: every setting of upstream's is decided, and documented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.errors import Invalid
from cloudseed.nova import hardware
from cloudseed.nova.hardware import FLAVOR, IMAGE, TABLE, check, topology

DOCS = Path(__file__).parents[2] / "docs" / "hardware.md"


@pytest.mark.parametrize(("specs", "properties"), [
    ({}, {}), ({"hw:machine_type": "q35"}, {"hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi"}),
    ({"hw:watchdog_action": "reset", "hw_rng:allowed": "True", "hw_video:ram_max_mb": "16"}, {"hw_video_ram": "16"}),
    ({"trait:CUSTOM_A": "required", "own": "x", "aggregate_instance_extra_specs:a": "b"}, {"hw_nonsense": "x"}),
    ({"hw:cpu_policy": "shared"}, {"hw_firmware_type": "UEFI", "os_type": "linux", "hw_qemu_guest_agent": "yes"})])
def test_what_can_be_had(specs: dict[str, str], properties: dict[str, Any]) -> None:
    check(specs, properties, 2)


@pytest.mark.parametrize(("specs", "properties", "text"), [
    ({}, {"hw_disk_bus": "fdc"}, "property of the image hw_disk_bus='fdc' is not supported by this cloud; supported: "
                                 "virtio, scsi, ide, sata"),
    ({"hw:cpu_policy": "dedicated"}, {}, "extra spec of the flavor hw:cpu_policy='dedicated'"),
    ({"hw:numa_mem.0": "1"}, {}, "hw:numa_mem.0"), ({"quota:cpu_shares": "5"}, {}, "quota:cpu_shares"),
    ({"os:secure_boot": "required"}, {}, "os:secure_boot"), ({}, {"os_secure_boot": "required"}, "os_secure_boot"),
    ({}, {"hw_tpm_model": "tpm-crb"}, "hw_tpm_model"), ({}, {"hw_vif_multiqueue_enabled": "true"}, "multiqueue"),
    ({"hw_video:ram_max_mb": "8"}, {"hw_video_ram": "16"}, "higher than the flavor maximum 8"),
    ({"pci_passthrough:alias": "gpu:1"}, {}, "pci_passthrough:alias"), ({}, {"hw_video_ram": "5"}, "power of two"),
    ({}, {"hw_cpu_max_sockets": 1, "hw_cpu_max_cores": 1, "hw_cpu_max_threads": 1}, "impossible to satisfy"),
    ({}, {"hw_cpu_cores": "many"}, "a number")])
def test_what_cannot(specs: dict[str, str], properties: dict[str, Any], text: str) -> None:
    with pytest.raises(Invalid, match=re.escape(text)):
        check(specs, properties, 2)


@pytest.mark.parametrize(("wish", "vcpus", "made"), [
    ({}, 4, None), ({"hw_cpu_sockets": "2"}, 4, (2, 2, 1)), ({"hw_cpu_cores": "4"}, 4, (1, 4, 1)),
    ({"hw_cpu_threads": "2"}, 4, (2, 1, 2)), ({"hw_cpu_sockets": "3"}, 4, (4, 1, 1)),
    ({"hw_cpu_max_sockets": "1"}, 4, (1, 4, 1)), ({"hw_cpu_sockets": "1", "hw_cpu_threads": "2"}, 8, (1, 4, 2)),
    ({"hw_cpu_max_sockets": "16"}, 4, None)])
def test_processors(wish: dict[str, str], vcpus: int, made: tuple[int, int, int] | None) -> None:
    assert topology({}, wish, vcpus) == made
    assert topology({name.replace("hw_", "hw:"): value for name, value in wish.items()}, {}, vcpus) == made


def test_the_flavor_wins() -> None:
    assert hardware.setting({"hw:boot_menu": "True"}, {"hw_boot_menu": "false"}, "boot_menu") == "true"
    assert hardware.flag({}, {"hw_boot_menu": "On"}, "boot_menu") and not hardware.flag({}, {}, "boot_menu")


def test_the_documentation_has_every_setting() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+?) \|", DOCS.read_text(), re.MULTILINE))
    decided = {f"hw_{name}": row.supported for name, row in TABLE.items()}
    decided |= {name: row.supported for name, row in (IMAGE | FLAVOR).items()}
    assert rows == decided
