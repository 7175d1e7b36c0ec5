"""The tempest.conf of a cloud of ours: where it is, what is in it, and what it claims to do.

A feature that is switched off here is skipped by Tempest, and a skipped test counts as not passed: so only what no
cloud of this project is meant to do is off.
"""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

from cloudseed.cli.api import Api

# settings of the cloud that some tests are for; by default they are off, as upstream's are
CLOUD: dict[str, Any] = {"image_format_enforcement": False, "lockout_failure_attempts": 2, "lockout_duration_s": 5,
                         "unique_last_password_count": 2}

MULTIATTACH_TYPE = "multiattach"  # the volume type whose volumes several servers may have

FEATURES = {
    "compute-feature-enabled": {
        "resize": True,
        "console_output": True,
        "vnc_console": True,
        "rescue": True,
        "shelve": True,
        "suspend": True,
        "pause": True,
        "stable_rescue": True,
        "snapshot": True,
        "enable_instance_password": True,
        "volume_multiattach": True,
        "interface_attach": True,
        "config_drive": True,
        "metadata_service": True,
        "change_password": False,
        "personality": False,
        "swap_volume": False,
        "attach_encrypted_volume": False,
        # one host process, whose computes share their disks and memory
        "live_migration": False,
        "cold_migration": False,
        "block_migration_for_live_migration": False,
    },
    "image-feature-enabled": {
        "import_image": True,
        "image_format_enforcement": False,  # some tests upload noise under every format's name
        "image_conversion": False,
        "manage_locations": False,
    },
    "network-feature-enabled": {
        "ipv6": True,
        "ipv6_subnet_attributes": True,
        "port_security": True,
        "floating_ips": True,
        "port_admin_state_change": True,
    },
    "volume-feature-enabled": {
        "backup": True,
        "snapshot": True,
        "clone": True,
        "volume_revert": True,
        "extend_attached_volume": True,
        "consistency_group": False,
    },
    "identity-feature-enabled": {"trust": True, "access_rules": True, "security_compliance": True},
    "enforce_scope": {"keystone": True},
    "object-storage-feature-enabled": {"container_sync": False, "object_versioning": True, "discoverability": True},
    "service_available": {
        "nova": True,
        "glance": True,
        "neutron": True,
        "swift": True,
        "cinder": True,
        "horizon": True,
    },
}


def write(path: Path, api: Api, url: str, password: str, made: dict[str, str], extra: list[str], *,
          computes: int, guests_answer: bool) -> None:
    """Write the file (mode 0600: it holds the admin's password).

    `made`: ids of what the run needs in the cloud: image, image_alt, flavor, flavor_alt, network.
    `computes`: how many compute hosts the cloud has.  `guests_answer`: they are machines that one can log in to.
    `extra`: SECTION.OPTION=VALUE, which win.  Microversions, extensions and the object store's features are asked of
    the cloud.
    """
    compute = api.get("/compute/v2.1/")["version"]
    volumes = api.get("/volume/v3/")["versions"][0]
    placement = api.get("/placement/")["versions"][0]
    extensions = sorted(item["alias"] for item in api.get("/networking/v2.0/extensions")["extensions"])
    info = api.get("/object-store/info")
    sections: dict[str, dict[str, Any]] = {name: dict(values) for name, values in FEATURES.items()}
    sections |= {
        "DEFAULT": {"log_dir": path.parent.parent, "log_file": "tempest.log"},
        "oslo_concurrency": {"lock_path": path.parent.parent / "locks"},
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": True,
            "admin_username": "admin",
            "admin_password": password,
            "admin_project_name": "admin",
            "admin_user_domain_name": "Default",
            "admin_project_domain_name": "Default",
            "admin_domain_name": "Default",
            "tempest_roles": "member",
        },
        "identity": {"uri_v3": f"{url}/identity/v3", "auth_version": "v3", "region": "RegionOne",
                     "user_lockout_failure_attempts": CLOUD["lockout_failure_attempts"],
                     "user_lockout_duration": CLOUD["lockout_duration_s"],
                     "user_unique_last_password_count": CLOUD["unique_last_password_count"]},
        "compute": {
            "image_ref": made["image"],
            "image_ref_alt": made["image_alt"],
            "flavor_ref": made["flavor"],
            "flavor_ref_alt": made["flavor_alt"],
            "min_compute_nodes": computes,
            "min_microversion": compute["min_version"],
            "max_microversion": compute["version"],
        },
        "placement": {"min_microversion": placement["min_version"], "max_microversion": placement["max_version"]},
        "volume": {
            "catalog_type": "block-storage",
            "volume_type_multiattach": MULTIATTACH_TYPE,
            "min_microversion": volumes["min_version"],
            "max_microversion": volumes["version"],
        },
        "dashboard": {"dashboard_url": f"{url}/dashboard/"},
        # seconds: what is not wired within a minute never will be, and some tests wait for each of their ports
        "network": {
            "public_network_id": made["network"],
            "floating_network_name": made["network_name"],
            "project_networks_reachable": False,
            "build_timeout": 60,
        },
        "validation": {
            "run_validation": guests_answer,
            "connect_method": "floating",
            "auth_method": "keypair",
            "image_ssh_user": "cirros",
            "image_alt_ssh_user": "cirros",
        },
        "object-storage": {"operator_role": "member", "reseller_admin_role": "ResellerAdmin"},
    }
    sections["network-feature-enabled"]["api_extensions"] = ",".join(extensions)
    features = sections["object-storage-feature-enabled"]
    features["discoverable_apis"] = ",".join(sorted(name for name in info if name != "swift"))
    if "tempurl" in info:
        features["tempurl_digest_hashlib"] = info["tempurl"]["allowed_digests"][-1]
    file = configparser.RawConfigParser()
    file.read_dict({name: {key: _text(value) for key, value in values.items()} for name, values in sections.items()})
    for item in extra:
        name, _, value = item.partition("=")
        section, _, option = name.partition(".")
        if section != "DEFAULT" and not file.has_section(section):
            file.add_section(section)
        file.set(section, option, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("w") as stream:
        file.write(stream)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
