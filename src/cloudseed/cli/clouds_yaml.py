"""clouds.yaml: where the openstack client, SDKs, Ansible and Terraform find this cloud.

Merged into what is there (other clouds stay as they are), mode 0600, in the home of the person who called us:
under sudo that is not root.  Source of the format: openstacksdk's configuration guide.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import yaml

CLOUD = "cloudseed"


def default_path() -> tuple[Path, int, int]:
    """The file of the calling person, with the user and group ids that should own it."""
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "0") != "0":
        person = pwd.getpwuid(int(os.environ["SUDO_UID"]))
        return Path(person.pw_dir) / ".config/openstack/clouds.yaml", person.pw_uid, person.pw_gid
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "openstack/clouds.yaml", os.geteuid(), os.getegid()


def entry(url: str, password: str, region: str, *, user: str = "admin", project: str = "admin") -> dict[str, Any]:
    """One cloud as clouds.yaml has it."""
    return {
        "auth": {
            "auth_url": f"{url}/identity/",
            "username": user,
            "password": password,
            "project_name": project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "region_name": region,
        "identity_api_version": "3",
        "interface": "public",
    }


def write(path: Path, cloud: dict[str, Any] | None, owner: tuple[int, int] | None = None, *, name: str = CLOUD) -> None:
    """Set the cloud called `name`, or remove it when `cloud` is None.  Raises ValueError for a file that is not
    clouds.yaml at all: it is somebody's, and stays."""
    content: Any = {}
    if path.exists():
        content = yaml.safe_load(path.read_text()) or {}
        if not isinstance(content, dict) or not isinstance(content.setdefault("clouds", {}), dict):
            raise ValueError(f"{path} is not in clouds.yaml's format; it was left as it is")
    clouds = content.setdefault("clouds", {})
    if cloud is None:
        if clouds.pop(name, None) is None:
            return
    else:
        clouds[name] = cloud
    if not clouds and set(content) == {"clouds"}:
        path.unlink(missing_ok=True)
        try:
            path.parent.rmdir()  # it was made for this file, unless somebody keeps more in it
        except OSError:
            pass
        return
    made = [parent for parent in (path.parent.parent, path.parent) if not parent.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    if owner is not None and os.geteuid() == 0:
        for item in (*made, temporary):
            os.chown(item, *owner)
    temporary.rename(path)
