"""The hardware that images and flavors may ask for: each of upstream's settings is honoured or refused by name.

An image's property `hw_<name>` and a flavor's extra spec `hw:<name>` are one setting; the flavor's wins.  `TABLE`
decides each: the values that a machine here can have.  `check` refuses everything else when a server is ordered
(400), so that nothing that was asked for is silently left out.  Names that upstream does not know are an
operator's own and mean nothing here.  docs/hardware.md is this table for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cloudseed.kernel.errors import Invalid

_TRUE = frozenset({"true", "yes", "on", "y", "t", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "f", "0", ""})


class Setting(NamedTuple):
    """`values`: a pattern of what can be had, case not minded; `supported`: the same for people."""

    values: str
    supported: str


def _any(*values: str) -> Setting:
    return Setting("|".join(map(re.escape, values)), ", ".join(values))


_BOOL = Setting("|".join(sorted(_TRUE | _FALSE)), "true, false")
_OFF = Setting("|".join(sorted(_FALSE)), "false")
_NEVER = Setting("(?!)", "nothing: leave it out")
_COUNT = Setting(r"\d{1,4}", "a number")

# settings that are `hw_<name>` of an image and, where upstream has it, `hw:<name>` of a flavor
TABLE: dict[str, Setting] = {
    "disk_bus": _any("virtio", "scsi", "ide", "sata"),
    "cdrom_bus": _any("ide", "sata"),
    "scsi_model": _any("virtio-scsi"),
    "vif_model": _any("virtio", "e1000", "rtl8139"),
    "machine_type": Setting(r"pc|q35|pc-i440fx[\w.-]*|pc-q35[\w.-]*", "pc, q35, and their versions"),
    "firmware_type": _any("bios", "uefi"),
    "video_model": _any("vga", "std", "virtio", "none"),
    "video_ram": Setting(r"1|2|4|8|16|32|64|128|256", "a power of two up to 256 (MiB)"),
    "rng_model": _any("virtio"),
    "serial_port_count": _any("1"),
    "boot_menu": _BOOL,
    "watchdog_action": _any("disabled", "none", "pause", "poweroff", "reset"),
    "pointer_model": _any("usbtablet", "ps2mouse"),
    "input_bus": _any("usb", "virtio"),
    "cpu_sockets": _COUNT, "cpu_cores": _COUNT, "cpu_threads": _COUNT,
    "cpu_max_sockets": _COUNT, "cpu_max_cores": _COUNT, "cpu_max_threads": _COUNT,
    "cpu_policy": _any("shared"),
    "cpu_thread_policy": _any("prefer"),
    "mem_page_size": _any("small", "any"),
    "vm_mode": _any("hvm"),
    "emulation_architecture": _any("x86_64"),
    "qemu_guest_agent": _BOOL,
    "rescue_bus": _any("virtio", "scsi", "ide", "sata", "usb"),
    "rescue_device": _any("disk", "cdrom"),
    "auto_disk_config": _BOOL,  # whether the guest grows its partitions, which it decides itself
    "time_hpet": _OFF, "vif_multiqueue_enabled": _OFF, "mem_encryption": _OFF, "locked_memory": _OFF,
    "virtio_packed_ring": _OFF, "ephemeral_encryption": _OFF, "firmware_stateless": _OFF, "ipxe_boot": _OFF,
    "cpu_realtime": _OFF, "hide_hypervisor_id": _OFF,
    "redirected_usb_ports": _any("0"),
    **dict.fromkeys((
        "cpu_realtime_mask", "cpu_dedicated_mask", "emulator_threads_policy", "device_id", "disk_type",
        "ephemeral_encryption_format", "ephemeral_encryption_secret_uuid", "floppy_bus", "maxphysaddr_bits",
        "maxphysaddr_mode", "mem_encryption_model", "numa_nodes", "numa_cpus", "numa_mem", "pci_numa_affinity_policy",
        "pmem", "pmu", "sound_model", "tpm_model", "tpm_version", "tpm_secret_security", "usb_model",
        "viommu_model"), _NEVER)}

# other names of images' properties
IMAGE: dict[str, Setting] = {
    "os_secure_boot": _any("disabled", "optional"),
    "os_command_line": _NEVER,  # machines boot from their disks, not from a kernel of the host's
    "img_hide_hypervisor_id": _OFF, "img_linked_clone": _NEVER}
# other names of flavors' extra specs
FLAVOR: dict[str, Setting] = {
    "os:secure_boot": _any("disabled", "optional"), "hide_hypervisor_id": _OFF,
    "hw_rng:allowed": _BOOL, "hw_rng:rate_bytes": Setting(r"\d{1,9}", "a number of bytes"),
    "hw_rng:rate_period": Setting(r"\d{1,9}", "a number of milliseconds"),
    "hw_video:ram_max_mb": Setting(r"\d{1,6}", "a number of MiB"),
    "pci_passthrough:alias": _NEVER, "accel:device_profile": _NEVER}
_REFUSED_NAMESPACES = ("quota", "vmware", "powervm")
_NUMBERED = re.compile(r"(numa_cpus|numa_mem)\.\d+\Z")


def check(extra_specs: Mapping[str, Any], properties: Mapping[str, Any], vcpus: int) -> None:
    """Refuse what a machine of this flavor and image cannot have.  Invalid names the property and what can be had."""
    for name, value, setting in _asked(extra_specs, properties):
        if not re.fullmatch(setting.values, str(value).strip(), re.IGNORECASE):
            what = "extra spec of the flavor" if ":" in name else "property of the image"
            raise Invalid(f"The {what} {name}={str(value)[:80]!r} is not supported by this cloud; supported: "
                          f"{setting.supported}.")
    wished, most = int(properties.get("hw_video_ram") or 0), int(extra_specs.get("hw_video:ram_max_mb") or 0)
    if wished > most > 0:
        raise Invalid(f"Requested video ram {wished} is higher than the flavor maximum {most}.")
    topology(extra_specs, properties, vcpus)


def _asked(extra_specs: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[tuple[str, Any, Setting]]:
    for name, value in properties.items():
        if name in IMAGE:
            yield name, value, IMAGE[name]
        elif name.startswith("hw_") and (setting := TABLE.get(_NUMBERED.sub(r"\1", name[3:]))) is not None:
            yield name, value, setting
    for name, value in extra_specs.items():
        space, _, rest = name.partition(":")
        if name in FLAVOR:
            yield name, value, FLAVOR[name]
        elif space == "hw" and (setting := TABLE.get(_NUMBERED.sub(r"\1", rest))) is not None:
            yield name, value, setting
        elif space in _REFUSED_NAMESPACES:
            yield name, value, _NEVER


def setting(extra_specs: Mapping[str, Any], properties: Mapping[str, Any], name: str) -> str:
    """The value of a setting, the flavor's before the image's, in lower case; empty when nobody asks."""
    return str(extra_specs.get(f"hw:{name}") or properties.get(f"hw_{name}") or "").strip().lower()


def flag(extra_specs: Mapping[str, Any], properties: Mapping[str, Any], name: str) -> bool:
    """A setting that is on or off; off when nobody asks."""
    return setting(extra_specs, properties, name) in _TRUE


def topology(extra_specs: Mapping[str, Any], properties: Mapping[str, Any],
             vcpus: int) -> tuple[int, int, int] | None:
    """Sockets, cores and threads that make `vcpus` and come nearest to what is asked; None when nothing is.

    What is asked is a wish, the maxima (`cpu_max_...`) are not: Invalid when no such processors can be within them.
    As upstream, more sockets are preferred to more cores, and those to more threads.
    """
    parts = ("sockets", "cores", "threads")
    wish = [int(setting(extra_specs, properties, f"cpu_{part}") or 0) for part in parts]
    most = [int(setting(extra_specs, properties, f"cpu_max_{part}") or 0) or vcpus for part in parts]
    if not any(wish) and all(limit >= vcpus for limit in most):
        return None
    found = [(sockets, cores, vcpus // (sockets * cores)) for sockets in range(1, vcpus + 1) if vcpus % sockets == 0
             for cores in range(1, vcpus // sockets + 1) if vcpus // sockets % cores == 0]
    possible = [one for one in found if all(count <= limit for count, limit in zip(one, most, strict=True))]
    if not possible:
        raise Invalid(f"Requested vCPU limits {most[0]}:{most[1]}:{most[2]} are impossible to satisfy for vcpus count "
                      f"{vcpus}.")
    return max(possible, key=lambda one: (sum(count == asked for count, asked in zip(one, wish, strict=True)), one))
