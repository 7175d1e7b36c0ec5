"""Which extra specs a flavor may hold: names and values of the known namespaces (upstream's list of 2.86)."""

from __future__ import annotations

import re

from cloudseed.kernel.errors import Invalid

KEY = re.compile(r"^[a-zA-Z0-9-_:. ]{1,255}\Z")
_BOOL = re.compile(r"^(?i:true|false|yes|no|on|off|y|n|t|f|1|0)\Z")
_INT = re.compile(r"^\d{1,18}\Z")
_TEXT = re.compile(r"^.+\Z", re.DOTALL)
_CPUS = re.compile(r"^\^?\d+((-\d+)?(,\^?\d+(-\d+)?)*)?\Z")


def _one_of(*values: str) -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(map(re.escape, values))})\Z")


_QUOTAS = ["cpu_shares", "cpu_period", "cpu_quota", "memory_limit", "memory_reservation", "memory_shares_share",
           *(f"disk_{kind}" for way in ("read", "write", "total") for kind in (
               f"{way}_bytes_sec", f"{way}_iops_sec", f"{way}_bytes_sec_max", f"{way}_iops_sec_max",
               f"{way}_bytes_sec_max_length", f"{way}_iops_sec_max_length")),
           *(f"vif_{way}bound_{kind}" for way in ("in", "out") for kind in ("average", "peak", "burst"))]

# name pattern -> value pattern; a name of a known namespace that matches none is refused
_KNOWN: list[tuple[re.Pattern[str], re.Pattern[str]]] = [(re.compile(rf"^{name}\Z"), value) for name, value in {
    "hw:cpu_policy": _one_of("shared", "dedicated", "mixed"),
    "hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    "hw:emulator_threads_policy": _one_of("isolate", "share"),
    "hw:cpu_realtime": _BOOL, "hw:cpu_realtime_mask": _CPUS, "hw:cpu_dedicated_mask": _CPUS,
    r"hw:cpu_(max_)?(sockets|cores|threads)": _INT,
    "hw:numa_nodes": _INT, r"hw:numa_cpus\.\d+": _CPUS, r"hw:numa_mem\.\d+": _INT,
    "hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    "hw:mem_page_size": re.compile(r"^(large|small|any|\d+([kKMG]i?[bB]?)?)\Z"),
    "hw:mem_encryption": _BOOL, "hw:mem_encryption_model": _one_of("amd-sev", "amd-sev-es"),
    "hw:locked_memory": _BOOL, "hw:pmem": _TEXT, "hw:boot_menu": _BOOL, "hw:hide_hypervisor_id": _BOOL,
    "hw:vif_multiqueue_enabled": _BOOL, "hw:virtio_packed_ring": _BOOL, "hw:serial_port_count": _INT,
    "hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw:tpm_model": _one_of("tpm-tis", "tpm-crb"), "hw:tpm_version": _one_of("1.2", "2.0"),
    "hw:tpm_secret_security": _one_of("user", "host", "deployment"),
    "hw:viommu_model": _one_of("auto", "intel", "smmuv3", "virtio"),
    "hw:maxphysaddr_mode": _one_of("emulate", "passthrough"), "hw:maxphysaddr_bits": _INT,
    "hw:sound_model": _TEXT, "hw:usb_model": _TEXT, "hw:redirected_usb_ports": _INT,
    "hw_rng:allowed": _BOOL, "hw_rng:rate_bytes": _INT, "hw_rng:rate_period": _INT,
    "hw_video:ram_max_mb": _INT,
    "os:secure_boot": _one_of("disabled", "required", "optional"), "os:hyperv": _TEXT,
    "pci_passthrough:alias": _TEXT, "accel:device_profile": _TEXT,
    "aggregate_instance_extra_specs:.+": _TEXT, "capabilities:.+": _TEXT,
    rf"quota:({'|'.join(_QUOTAS)})": _INT, "quota:cpu_shares_level": _TEXT, "quota:memory_shares_level": _TEXT,
    r"resources(_?[a-zA-Z0-9_-]{1,64})?:(CUSTOM_[A-Z0-9_]+|[A-Z][A-Z0-9_]*)": _INT,
    r"trait(_?[a-zA-Z0-9_-]{1,64})?:[A-Z][A-Z0-9_]*": _one_of("required", "forbidden"),
}.items()]
_NAMESPACES = frozenset({"accel", "aggregate_instance_extra_specs", "capabilities", "hw", "hw_rng", "hw_video", "os",
                         "pci_passthrough", "powervm", "quota", "resources", "trait", "vmware"})
_NUMBERED = re.compile(r"^(resources|trait)(_?[a-zA-Z0-9_-]{1,64})?\Z")


def check_spec(name: str, value: str) -> None:
    """Refuse an unknown name of a known namespace, or a value that its name does not take.  Raises Invalid."""
    namespace = name.partition(":")[0] if ":" in name else ""
    numbered = _NUMBERED.match(namespace)
    if namespace not in _NAMESPACES and not numbered:
        return
    for known, allowed in _KNOWN:
        if known.match(name):
            if not allowed.match(value):
                raise Invalid(f"Validation failed; {value[:80]!r} is not a valid value for extra spec '{name}'.")
            return
    raise Invalid(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")
