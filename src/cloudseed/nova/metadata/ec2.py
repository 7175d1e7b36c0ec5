"""EC2's metadata tree of a server, each version as old guests expect it.  Pure.

Source: https://docs.openstack.org/nova/latest/user/metadata.html (EC2-compatible metadata)
"""

from __future__ import annotations

from typing import Any

from cloudseed.nova.metadata.documents import Guest

VERSIONS = ("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
            "2009-04-04")
LATEST = VERSIONS[-1]
NAME = "_name"  # how a directory shows in its parent's listing, when that is not its own name


def tree(guest: Guest, version: str) -> dict[str, Any]:
    """{"meta-data": {...}, "user-data": bytes}: directories are dicts, files are text, bytes or lists of lines."""
    made: dict[str, Any] = {"meta-data": meta_data(guest, version)}
    if guest.user_data is not None:
        made["user-data"] = guest.user_data
    return made


def meta_data(guest: Guest, version: str) -> dict[str, Any]:
    """The directory `meta-data`."""
    spec = guest.spec
    fixed, floating = _addresses(guest)
    document: dict[str, Any] = {
        "ami-id": f"ami-{_short(spec.image_id)}", "ami-launch-index": spec.launch_index,
        "ami-manifest-path": "FIXME",  # upstream's own words, which guests have seen for ever
        "instance-id": f"i-{_short(spec.id)}", "hostname": spec.hostname, "local-ipv4": fixed,
        "reservation-id": spec.reservation_id, "security-groups": list(spec.security_groups)}
    if spec.key_data:
        document["public-keys"] = {"0": {NAME: f"0={spec.key_name or 'default'}", "openssh-key": spec.key_data}}
    if version >= "2007-01-19":
        document |= {"local-hostname": spec.hostname, "public-hostname": spec.hostname, "public-ipv4": floating}
    if version >= "2007-08-29":
        document["instance-type"] = spec.flavor_name
    if version >= "2007-12-15":
        document["block-device-mapping"] = _block_devices(guest)
        for name in ("kernel", "ramdisk"):
            if image := spec.image_properties.get(f"{name}_id"):
                document[f"{name}-id"] = f"{'aki' if name == 'kernel' else 'ari'}-{_short(str(image))}"
    if version >= "2008-02-01":
        document["placement"] = {"availability-zone": spec.availability_zone or "nova"}
    if version >= "2008-09-01":
        document["instance-action"] = "none"
    return document


def _addresses(guest: Guest) -> tuple[str, str]:
    """The first fixed and the first floating IPv4 address, or empty texts."""
    ips = [ip for vif in guest.vifs for subnet in vif["network"]["subnets"] if subnet["version"] == 4
           for ip in subnet["ips"]]
    floating = [f["address"] for ip in ips for f in ip.get("floating_ips", ())]
    return ips[0]["address"] if ips else "", floating[0] if floating else ""


def _block_devices(guest: Guest) -> dict[str, str]:
    """What lies on which disk, by the names that the guest's kernel gives them in our order of disks."""
    spec = guest.spec
    root = spec.root_device_name or "/dev/vda"
    devices = {"ami": root.removeprefix("/dev/"), "root": root}
    local = [f"ephemeral{number}" for number in range(len(spec.ephemeral_disks_gib))]
    prefix, letter = root[:-1], ord(root[-1])
    for name in [*local, *(["swap"] if spec.swap_disk_mib else [])]:
        letter += 1
        devices[name] = f"{prefix}{chr(letter)}"
    volumes = sorted(device.device_name for device in spec.volumes if device.device_name)
    return devices | {f"ebs{number}": name for number, name in enumerate(volumes)}


def _short(uuid: str | None) -> str:
    """EC2's ids have eight hex digits."""
    return (uuid or "0" * 8).replace("-", "")[:8]
